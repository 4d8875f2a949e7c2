// SPDX-License-Identifier: Apache-2.0

package content

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// pieces is a Source that gives its content in pieces of at most size bytes and overwrites each after its time, as a
// transport that reuses its buffers would.
type pieces struct {
	content []byte
	size    int
	last    []byte
}

func (p *pieces) Next() ([]byte, error) {
	clear(p.last)
	if len(p.content) == 0 {
		return nil, io.EOF
	}
	n := min(p.size, len(p.content))
	p.last = bytes.Clone(p.content[:n])
	p.content = p.content[n:]
	return p.last, nil
}

const ours = "Received: by node.example id 01J; Mon, 1 Jan 2024 00:00:00 +0000\r\n"

// result is what a content came to.
type result struct {
	out    string
	head   Header
	values map[string][]string
	facts  Facts
}

// read runs a content through a reader in pieces of the given size.
func read(content string, size int, rules Rules) (result, error) {
	r := NewReader(&pieces{content: []byte(content), size: size}, rules, nil)
	head, err := r.ReadHeader()
	if err != nil {
		return result{}, err
	}
	res := result{head: *head, values: map[string][]string{}}
	for _, name := range []string{"To", "References", "From", "Bcc", "Resent-Bcc", "Return-Path"} {
		res.values[name] = head.Values(name)
	}
	begun, err := r.Peek(size * 5)
	if err != nil {
		return result{}, err
	}
	begun = bytes.Clone(begun)
	r.Prepend([]byte(ours))
	var out bytes.Buffer
	for {
		piece, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return result{}, err
		}
		out.Write(piece)
	}
	res.out, res.facts = out.String(), r.Facts()
	if body := res.out[res.facts.HeaderSize:]; !strings.HasPrefix(body, string(begun)) || len(begun) < min(size*5, len(body)-2) {
		return res, fmt.Errorf("peeked %q, the body is %q", begun, body)
	}
	return res, nil
}

// sizes are the piece sizes every case is read with.
var sizes = []int{1, 2, 3, 7, 64, 1 << 20}

func TestReaderKeepsContentAndPutsOurFieldsInFront(t *testing.T) {
	content := "From: a@example.org\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n" +
		"Subject: folded\r\n line\r\n\r\nfirst\r\n.dot\r\n\r\nlast\r\n"
	for _, size := range sizes {
		got, err := read(content, size, DefaultRules())
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if got.out != ours+content {
			t.Errorf("size %d: out = %q", size, got.out)
		}
		header := strings.Index(content, "\r\n\r\n") + 4
		want := Facts{
			Size: uint64(len(ours + content)), SHA256: sha256.Sum256([]byte(ours + content)),
			HeaderSize: uint32(len(ours) + header), PrependedSize: uint32(len(ours)), DotLines: true,
		}
		if got.facts != want {
			t.Errorf("size %d: facts = %+v, want %+v", size, got.facts, want)
		}
		if !got.head.HasDate || !got.head.HasMessageID || got.head.MessageID != "<1@example.org>" || got.head.Fields != 4 {
			t.Errorf("size %d: head = %+v", size, got.head)
		}
	}
}

func TestReaderFaults(t *testing.T) {
	const from = "From: a@example.org\r\n"
	small := DefaultRules()
	small.MaxSize, small.MaxHeaderBytes, small.MaxFields = 200, 100, 4
	fold := DefaultRules()
	fold.LongLines = Fold
	long := strings.Repeat("x", 999)
	cases := []struct {
		name    string
		content string
		rules   Rules
		reason  string
		status  string
		line    int
	}{
		{"G06_TooLarge", from + "\r\n" + strings.Repeat("line\r\n", 40), small, ReasonTooLarge, "5.3.4", 0},
		{"G07_HeaderBytes", from + "X: " + strings.Repeat("y", 90) + "\r\n\r\n", small, ReasonHeaderTooLarge, "5.6.0", 0},
		{"G07_HeaderBytesWithoutEnd", strings.Repeat("X: y\r\n", 21), small, ReasonHeaderTooLarge, "5.6.0", 0},
		{"G07_Fields", from + "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n", small, ReasonHeaderTooLarge, "5.6.0", 5},
		{"G07_NoColon", from + "Subject hello\r\n\r\n", DefaultRules(), ReasonHeaderMalformed, "5.6.0", 2},
		{"G07_NoName", from + ": hello\r\n\r\n", DefaultRules(), ReasonHeaderMalformed, "5.6.0", 2},
		{"G07_MboxLine", "From a@example.org Mon Jan  1 00:00:00\r\n" + from + "\r\n", DefaultRules(), ReasonHeaderMalformed, "5.6.0", 1},
		{"G07_ContinuationFirst", " folded\r\n" + from + "\r\n", DefaultRules(), ReasonHeaderMalformed, "5.6.0", 1},
		{"G07_NoHeader", "just some text\r\n", DefaultRules(), ReasonHeaderMalformed, "5.6.0", 1},
		{"G07_BodyOnly", "\r\nFrom: not a header\r\n", DefaultRules(), ReasonFromMissing, "5.6.0", 0},
		{"G07_Empty", "", DefaultRules(), ReasonFromMissing, "5.6.0", 0},
		{"G07_FromMissing", "Subject: x\r\n\r\nbody\r\n", DefaultRules(), ReasonFromMissing, "5.6.0", 0},
		{"G07_FromEmpty", "From: \t\r\n \r\n\r\nbody\r\n", DefaultRules(), ReasonFromMissing, "5.6.0", 0},
		{"G07_TwoFrom", from + "FROM: b@example.org\r\n\r\n", DefaultRules(), ReasonFieldRepeated, "5.6.0", 0},
		{"G07_TwoDate", from + "Date: 1\r\ndate: 2\r\n\r\n", DefaultRules(), ReasonFieldRepeated, "5.6.0", 0},
		{"G07_TwoMessageID", from + "Message-ID: <1@a>\r\nMessage-id: <2@a>\r\n\r\n", DefaultRules(), ReasonFieldRepeated, "5.6.0", 0},
		{"G07_LongHeaderLine", from + "X: " + long + "\r\n\r\n", DefaultRules(), ReasonLineTooLong, "5.6.0", 2},
		{"S66_LongBodyLine", from + "\r\nok\r\n" + long + "\r\n", DefaultRules(), ReasonLineTooLong, "5.6.0", 4},
		{"S66_LongLastLine", from + "\r\n" + long, DefaultRules(), ReasonLineTooLong, "5.6.0", 3},
		{"S66_FoldCannotCut", from + "X:" + long + "\r\n\r\n", fold, ReasonLineTooLong, "5.6.0", 2},
		{"S66_FoldNotTheBody", from + "\r\nx " + long + "\r\n", fold, ReasonLineTooLong, "5.6.0", 3},
		{"G08_BareLF", from + "\r\nok\r\nbare\nlf\r\n", DefaultRules(), ReasonBareNewline, "5.6.0", 4},
		{"G08_BareCR", from + "\r\nbare\rcr\r\n", DefaultRules(), ReasonBareNewline, "5.6.0", 3},
		{"G08_BareLFInHeader", "From: a@example.org\nSubject: x\r\n\r\n", DefaultRules(), ReasonBareNewline, "5.6.0", 1},
		{"G08_CRAtEnd", from + "\r\nx\r", DefaultRules(), ReasonBareNewline, "5.6.0", 3},
		{"G08_CRCRLF", from + "\r\nx\r\r\n", DefaultRules(), ReasonBareNewline, "5.6.0", 3},
		{"G08_LFDotLF", from + "\r\nx\n.\ny\r\n", DefaultRules(), ReasonBareNewline, "5.6.0", 3},
		{"G08_LFDotCRLF", from + "\r\nx\n.\r\ny\r\n", DefaultRules(), ReasonBareNewline, "5.6.0", 3},
		{"G09_NUL", from + "\r\nok\r\na\x00b\r\n", DefaultRules(), ReasonNUL, "5.6.0", 4},
		{"G09_NULInHeader", "From: a\x00b@example.org\r\n\r\n", DefaultRules(), ReasonNUL, "5.6.0", 1},
		{"HeaderNotUTF8", from + "Subject: caf\xe9\r\n\r\n", DefaultRules(), ReasonHeaderCharset, "5.6.0", 0},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			for _, size := range sizes {
				_, err := read(tc.content, size, tc.rules)
				fault, ok := errors.AsType[*Fault](err)
				if !ok {
					t.Fatalf("size %d: err = %v, want a fault", size, err)
				}
				if fault.Reason != tc.reason || fault.Enhanced.String() != tc.status || fault.Line != tc.line {
					t.Errorf("size %d: fault = %+v, want %s %s line %d", size, fault, tc.reason, tc.status, tc.line)
				}
			}
		})
	}
}

func TestS66_TheLimitItselfIsTaken(t *testing.T) {
	line := strings.Repeat("x", 998)
	content := "From: a@example.org\r\nX: " + line[3:] + "\r\n\r\n" + line + "\r\n" + line
	for _, size := range sizes {
		got, err := read(content, size, DefaultRules())
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if got.out != ours+content+"\r\n" {
			t.Errorf("size %d: the last line was not ended", size)
		}
	}
}

func TestS66_FoldCutsHeaderLinesAtWhiteSpace(t *testing.T) {
	rules := DefaultRules()
	rules.LongLines = Fold
	content := "From: a@example.org\r\nReferences: " + strings.Repeat("<id@example.org> ", 200) + "<z@example.org>\r\n\r\nbody\r\n"
	for _, size := range sizes {
		got, err := read(content, size, rules)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if unfolded := strings.ReplaceAll(got.out, "\r\n <", " <"); unfolded != ours+content {
			t.Errorf("size %d: folding changed more than line ends: %q", size, unfolded)
		}
		for _, line := range strings.Split(got.out, "\r\n") {
			if len(line) > 998 {
				t.Errorf("size %d: a line of %d bytes is left", size, len(line))
			}
		}
		if want := 1; len(got.values["References"]) != want {
			t.Errorf("size %d: folded field is not one field", size)
		}
	}
}

func TestG08_NormaliseMakesEveryLineEndCRLF(t *testing.T) {
	rules := DefaultRules()
	rules.Newlines = Normalise
	for _, size := range sizes {
		got, err := read("From: a@example.org\nSubject: x\r\r\nx\n.\ny\r\n.\r\rz", size, rules)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if want := ours + "From: a@example.org\r\nSubject: x\r\n\r\nx\r\n.\r\ny\r\n.\r\n\r\nz\r\n"; got.out != want {
			t.Errorf("size %d: out = %q, want %q", size, got.out, want)
		}
		if !got.facts.DotLines {
			t.Errorf("size %d: the dots that normalising brought to line starts were not seen", size)
		}
	}
	rules.MaxSize = 44
	if _, err := read("From: a@example.org\n\n"+strings.Repeat("\n", 21), 1<<20, rules); err == nil {
		t.Error("size is not counted after normalising")
	}
}

func TestG18_BccAndReturnPathAreRemoved(t *testing.T) {
	content := "Return-Path: <x@example.org>\r\nFrom: a@example.org\r\nBcc: b@example.org,\r\n\tc@example.org\r\nTo: d@example.org\r\n" +
		"BCC : e@example.org\r\nResent-Bcc: f@example.org\r\n\r\nBcc: in the body stays\r\n"
	want := ours + "From: a@example.org\r\nTo: d@example.org\r\n\r\nBcc: in the body stays\r\n"
	for _, size := range sizes {
		got, err := read(content, size, DefaultRules())
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if got.out != want {
			t.Errorf("size %d: out = %q", size, got.out)
		}
		if header := strings.Index(want, "\r\n\r\n") + 4; int(got.facts.HeaderSize) != header {
			t.Errorf("size %d: header size %d, want %d", size, got.facts.HeaderSize, header)
		}
		if got.values["To"][0] != "d@example.org" {
			t.Errorf("size %d: Values after removal = %q", size, got.values["To"])
		}
	}
}

func TestHeaderFacts(t *testing.T) {
	content := "Received: from x\r\n by y; date\r\nRECEIVED: from z\r\nX-Received: no\r\nFrom: J\xc3\xb6rg <a@example.org>\r\n" +
		"TLS-Required: no\r\nMessage-ID: <a b>\r\n.Dot: x\r\n\r\nbody \xff\r\n"
	for _, size := range sizes {
		got, err := read(content, size, DefaultRules())
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		h := got.head
		if h.Received != 2 || !h.NotASCII || !h.TLSOptional || h.HasDate || !h.HasMessageID || h.MessageID != "" {
			t.Errorf("size %d: head = %+v", size, h)
		}
		if !got.facts.EightBit || !got.facts.DotLines {
			t.Errorf("size %d: facts = %+v", size, got.facts)
		}
	}
}

func TestHeaderWithoutEmptyLine(t *testing.T) {
	for _, content := range []string{"From: a@example.org\r\nSubject: x\r\n", "From: a@example.org\r\nSubject: x"} {
		for _, size := range sizes {
			got, err := read(content, size, DefaultRules())
			if err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
			if got.out != ours+"From: a@example.org\r\nSubject: x\r\n" {
				t.Errorf("size %d: out = %q", size, got.out)
			}
		}
	}
}

func TestReadGivesWhatNextGives(t *testing.T) {
	content := "From: a@example.org\r\n\r\n" + strings.Repeat("some line\r\n", 5000)
	r := NewReader(&pieces{content: []byte(content), size: 777}, DefaultRules(), nil)
	if _, err := r.ReadHeader(); err != nil {
		t.Fatal(err)
	}
	r.Prepend([]byte(ours))
	got, err := io.ReadAll(r)
	if err != nil || string(got) != ours+content {
		t.Fatalf("ReadAll = %d bytes, %v", len(got), err)
	}
	if r.Facts().SHA256 != sha256.Sum256(got) || r.Facts().Size != uint64(len(got)) {
		t.Error("facts do not fit what was read")
	}
}

// failing is a Source whose transport breaks.
type failing struct{ n int }

var errBroken = errors.New("stream broken")

func (f *failing) Next() ([]byte, error) {
	if f.n--; f.n < 0 {
		return nil, errBroken
	}
	return []byte("From: a@example.org\r\n\r\nbody\r\n"), nil
}

func TestSourceErrorsAreHandedOn(t *testing.T) {
	if _, err := NewReader(&failing{}, DefaultRules(), nil).ReadHeader(); !errors.Is(err, errBroken) {
		t.Errorf("in the header: %v", err)
	}
	r := NewReader(&failing{n: 1}, DefaultRules(), nil)
	if _, err := r.ReadHeader(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := io.ReadAll(r); !errors.Is(err, errBroken) {
			t.Errorf("in the body: %v", err)
		}
	}
}

func TestG06_StopsAtTheLimitWithoutReadingOn(t *testing.T) {
	rules := DefaultRules()
	rules.MaxSize = 1000
	src := &pieces{content: append([]byte("From: a@example.org\r\n\r\n"), bytes.Repeat([]byte("line\r\n"), 100000)...), size: 100}
	r := NewReader(src, rules, nil)
	_, err := r.ReadHeader()
	if err == nil {
		_, err = io.ReadAll(r)
	}
	if fault, ok := errors.AsType[*Fault](err); !ok || fault.Reason != ReasonTooLarge {
		t.Fatalf("err = %v", err)
	}
	if read := 22 + 600000 - len(src.content); read > 1100 {
		t.Errorf("%d bytes were read for a limit of 1000", read)
	}
}

func TestG12_DigestIsOverTheSubmittedBytes(t *testing.T) {
	content := "Bcc: x@example.org\r\nFrom: a@example.org\r\n\r\nbody"
	digest := sha256.New()
	r := NewReader(&pieces{content: []byte(content), size: 5}, DefaultRules(), digest)
	if _, err := r.ReadHeader(); err != nil {
		t.Fatal(err)
	}
	r.Prepend([]byte(ours))
	if _, err := io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256([]byte(content)); !bytes.Equal(digest.Sum(nil), want[:]) {
		t.Error("the digest is not that of the submitted bytes")
	}
}
