// SPDX-License-Identifier: Apache-2.0

package smtplisten

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

const header = "From: a@example.org\r\n\r\n"

// second is a message a smuggler hides behind what another server might take for the end of the data.
const second = "MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nFrom: evil@example.org\r\n\r\nsmuggled\r\n.\r\n"

// TestG08_SmugglingIsRefused sends each false end of data, a whole second message and the true end. Nothing may be taken,
// and the connection must end: what follows a bare CR or LF is neither data nor commands.
func TestG08_SmugglingIsRefused(t *testing.T) {
	ends := map[string]string{
		"LF.LF": "\n.\n", "LF.CRLF": "\n.\r\n", "CRLF.LF": "\r\n.\n", "CR.CR": "\r.\r", "CR.CRLF": "\r.\r\n", "CRLF.CR": "\r\n.\r",
		"CR.LF": "\r.\n", "LF.CR": "\n.\r", "CRCRLF": "\r\r\n", "CRCRLF.CRLF": "\r\r\n.\r\n", "CRLF.CRCRLF": "\r\n.\r\r\n",
		"CRCRLF.CRCRLF": "\r\r\n.\r\r\n", "LFCR.LFCR": "\n\r.\n\r", "bare LF": "a\nb\r\n", "bare CR": "a\rb\r\n",
		"LFLF": "\n\n", "CRCR": "\r\r", "bare LF first": "\r\n\n", "stuffed": "\r\n..\n", "LF..CRLF": "\n..\r\n",
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			c := b.greeted()
			c.begin()
			c.send(header + "first" + end + second + ".\r\n")
			c.expect("550 5.6.0")
			c.closed()
			if got := b.sub.all(); len(got) != 0 {
				t.Errorf("taken: %+v", got)
			}
		})
	}
}

// TestG09_NULIsRefused does the same with NUL, which hides no end: the message is refused and the session goes on.
func TestG09_NULIsRefused(t *testing.T) {
	for name, end := range map[string]string{
		"NUL": "\x00", "CRLF.NULCRLF": "\r\n.\x00\r\n", "CRLFNUL.CRLF": "\r\n\x00.\r\n", "in the middle": "a\x00b\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			c := b.greeted()
			c.begin()
			c.send(header + "first" + end + "\r\n.\r\n")
			c.expect("550 5.6.0")
			c.say("NOOP\r\n", "250")
			if got := b.sub.all(); len(got) != 0 {
				t.Errorf("taken: %+v", got)
			}
		})
	}
}

// TestG10_OnlyCRLFDotCRLFEndsData sends lines that look like the end and are data.
func TestG10_OnlyCRLFDotCRLFEndsData(t *testing.T) {
	for name, tc := range map[string]struct{ sent, want string }{
		"plain":          {"hi\r\n", "hi\r\n"},
		"stuffed dot":    {"..\r\nx\r\n", ".\r\nx\r\n"},
		"stuffed line":   {"..x\r\n", ".x\r\n"},
		"unstuffed line": {".x\r\n", "x\r\n"},
		"dot and space":  {". \r\nx\r\n", " \r\nx\r\n"},
		"dot in a line":  {"x.\r\n", "x.\r\n"},
		"commands":       {"QUIT\r\nRSET\r\n", "QUIT\r\nRSET\r\n"},
		"nothing":        {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			c := b.greeted()
			c.begin()
			c.say(header+tc.sent+".\r\n", "250 2.0.0 queued as ID")
			c.say("QUIT\r\n", "221")
			if got := b.sub.all(); len(got) != 1 || got[0].content != header+tc.want {
				t.Errorf("taken %+v, want %q", got, tc.want)
			}
		})
	}
}

// TestG10_TwoMessagesStayTwo sends two messages in one piece: pipelining behind the end of data is no smuggling.
func TestG10_TwoMessagesStayTwo(t *testing.T) {
	b := start(t)
	c := b.greeted()
	c.begin()
	c.send(header + "one\r\n.\r\n" + envelopeLines + header + "two\r\n.\r\n")
	for _, want := range []string{"250 2.0.0", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0"} {
		c.expect(want)
	}
	if got := b.sub.all(); len(got) != 2 || got[0].content != header+"one\r\n" || got[1].content != header+"two\r\n" {
		t.Errorf("taken: %+v", got)
	}
}

func TestG08_BareNewlinesInCommands(t *testing.T) {
	for name, text := range map[string]string{
		"bare LF": "NOOP\n", "bare CR": "NOOP\rRSET\r\n", "CRCRLF": "NOOP\r\r\n", "NUL": "NO\x00OP\r\n",
		"in an address": "MAIL FROM:<a@example.org\nRSET>\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t).greeted()
			c.say(text, "550 5.5.2")
			c.closed()
		})
	}
}

// FuzzDataReader holds the reader against a plain one that splits at CRLF.CRLF, whatever the pieces it gets.
func FuzzDataReader(f *testing.F) {
	for _, seed := range []string{
		"a\r\n.\r\nrest", ".\r\n", "\n.\n", "a\n.\r\n.\r\n", "a\r\n.\rb\r\n.\r\n", "..\r\n.\r\n", "a\r\r\n.\r\n", "\r\n.\r\n", "",
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		size = 16 + max(0, size%100) // bufio's smallest buffer is 16
		r := bufio.NewReaderSize(strings.NewReader(string(in)), size)
		d := newDataReader(r)
		var got strings.Builder
		var err error
		for err == nil {
			var p []byte
			p, err = d.Next()
			got.Write(p)
		}
		rest, _ := io.ReadAll(r)
		want, wantRest, wantErr := plainData(string(in))
		unfinished := errors.Is(wantErr, io.ErrUnexpectedEOF) && errors.Is(err, errBareData) // seen before the end
		if !errors.Is(err, wantErr) && !unfinished {
			t.Fatalf("%q: %v, want %v", in, err, wantErr)
		}
		if errors.Is(wantErr, io.EOF) && (got.String() != want || string(rest) != wantRest) {
			t.Fatalf("%q: %q and %q, want %q and %q", in, got.String(), rest, want, wantRest)
		}
		if text := got.String(); strings.Count(text, "\r\n") != strings.Count(text, "\n") {
			t.Fatalf("%q: a bare LF comes through: %q", in, text)
		}
	})
}

// plainData is what the data mean by the book.
func plainData(in string) (content, rest string, err error) {
	for in != "" {
		line, after, found := strings.Cut(in, "\n")
		if !found {
			break
		}
		text, crlf := strings.CutSuffix(line, "\r")
		if !crlf || strings.Contains(text, "\r") {
			return "", "", errBareData
		}
		if text == "." {
			return content, after, io.EOF
		}
		content += strings.TrimPrefix(text, ".") + "\r\n"
		in = after
	}
	return "", "", io.ErrUnexpectedEOF
}
