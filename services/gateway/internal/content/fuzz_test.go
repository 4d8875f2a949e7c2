// SPDX-License-Identifier: Apache-2.0

package content

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
)

// FuzzReader checks what must hold of every content, however it is cut into pieces.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"From: a\r\n\r\nbody\r\n", "From: a\nTo: b\n\n.\n", "\r\n", "Bcc: x\r\n y\r\nFrom: b\r\n\r\n.\r\r\n", "From:a\r\n.x:\r\n",
		"From: \xc3\xb6\r\nReceived: 1\r\n\r\n\x00", "From: " + strings.Repeat("a ", 600) + "\r\n\r\n", "From: a\r\nMessage-ID:\r\n <a@b>\r\n\r\nx\r",
	} {
		f.Add([]byte(seed), 3, false)
		f.Add([]byte(seed), 1, true)
	}
	f.Fuzz(func(t *testing.T, content []byte, size int, lenient bool) {
		rules := DefaultRules()
		rules.MaxSize, rules.MaxHeaderBytes, rules.MaxFields = 8192, 4096, 50
		if lenient {
			rules.Newlines, rules.LongLines = Normalise, Fold
		}
		whole, wholeErr := read(string(content), 1<<20, rules)
		cut, cutErr := read(string(content), max(1, size), rules)
		if wholeErr == nil != (cutErr == nil) || whole.out != cut.out || whole.facts != cut.facts {
			t.Fatalf("cutting changed the result: %v, %v, %q, %q", wholeErr, cutErr, whole.out, cut.out)
		}
		if wholeErr != nil {
			if _, ok := errors.AsType[*Fault](wholeErr); !ok {
				t.Fatalf("not a fault: %v", wholeErr)
			}
			return
		}
		checkStored(t, whole)
		if !lenient && !bytes.Contains(bytes.ToLower(content), []byte("bcc")) &&
			!bytes.Contains(bytes.ToLower(content), []byte("return-path")) {
			if kept := strings.TrimPrefix(whole.out, ours); strings.TrimSuffix(kept, "\r\n") != strings.TrimSuffix(string(content), "\r\n") {
				t.Fatalf("content was changed: %q to %q", content, kept)
			}
		}
	})
}

// checkStored checks what must hold of everything that is stored.
func checkStored(t *testing.T, got result) {
	t.Helper()
	if !strings.HasPrefix(got.out, ours) || !strings.HasSuffix(got.out, "\r\n") || strings.ContainsRune(got.out, 0) {
		t.Fatalf("out = %q", got.out)
	}
	if want := receivedIn(strings.TrimPrefix(got.out, ours)); got.head.Received != want {
		t.Fatalf("%d Received fields counted, there are %d in %q", got.head.Received, want, got.out)
	}
	dots := false
	for _, line := range strings.Split(strings.TrimSuffix(got.out, "\r\n"), "\r\n") {
		if strings.ContainsAny(line, "\r\n") {
			t.Fatalf("bare CR or LF is left in %q", line)
		}
		if len(line) > 998 {
			t.Fatalf("a line of %d bytes is left", len(line))
		}
		dots = dots || strings.HasPrefix(line, ".")
	}
	if got.facts.DotLines != dots {
		t.Fatalf("dot lines %v, noted %v in %q", dots, got.facts.DotLines, got.out)
	}
	if got.facts.EightBit != (strings.IndexFunc(got.out, func(r rune) bool { return r > 127 }) >= 0) {
		t.Fatalf("8-bit noted as %v in %q", got.facts.EightBit, got.out)
	}
	if got.facts.SHA256 != sha256.Sum256([]byte(got.out)) || got.facts.Size != uint64(len(got.out)) {
		t.Fatal("size or digest are not those of the stored bytes")
	}
	for _, name := range []string{"Bcc", "Resent-Bcc", "Return-Path"} {
		if len(got.values[name]) != 0 {
			t.Fatalf("%s is left in %q", name, got.out)
		}
	}
	if len(got.values["From"]) != 1 {
		t.Fatalf("From fields: %q", got.values["From"])
	}
}

func BenchmarkReader(b *testing.B) {
	header := "From: a@example.org\r\nTo: b@example.com\r\nSubject: a message of ordinary length\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n" +
		"Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
	line := strings.Repeat("words ", 12) + "\r\n"
	for name, size := range map[string]int{"2KiB": 2 << 10, "256KiB": 256 << 10} {
		content := []byte(header + strings.Repeat(line, (size-len(header))/len(line)))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			for b.Loop() {
				r := NewReader(Bytes(content), DefaultRules(), nil)
				if _, err := r.ReadHeader(); err != nil {
					b.Fatal(err)
				}
				r.Prepend([]byte(ours))
				for {
					if _, err := r.Next(); err != nil {
						break
					}
				}
			}
		})
	}
}

// receivedIn counts Received fields in another way: each line that is no continuation has its name before the colon.
func receivedIn(content string) int {
	n := 0
	for line := range strings.SplitSeq(content, "\r\n") {
		if line == "" {
			break
		}
		name, _, _ := strings.Cut(line, ":")
		if line[0] != ' ' && line[0] != '\t' && strings.EqualFold(strings.TrimRight(name, " \t"), "Received") {
			n++
		}
	}
	return n
}
