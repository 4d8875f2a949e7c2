// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"strings"
	"testing"
)

func TestReadHeader(t *testing.T) {
	tests := []struct {
		name, content, subject, date string
	}{
		{"plain", "Subject: Hello\r\nDate: today\r\n\r\nSubject: body", "Hello", "today"},
		{"LF only", "Subject: Hello\nDate: today\n\nDate: body", "Hello", "today"},
		{"folded", "Subject: Hello\r\n\tyou\r\n\r\n", "Hello\u0020you", ""},
		{"other case", "SUBJECT: Hello\r\n", "Hello", ""},
		{"space before the colon", "Subject : Hello\r\n", "Hello", ""},
		{"first counts", "Subject: one\r\nSubject: two\r\n", "one", ""},
		{"encoded", "Subject: =?iso-8859-1?q?Gr=FC=DFe?=\r\n", "Gr\u00fc\u00dfe", ""},
		{"encoded line end", "Subject: =?utf-8?q?a=0D=0ABcc:_x?=\r\n", "a??Bcc: x", ""},
		{"unknown charset", "Subject: =?x-klingon?q?a?=\r\n", "=?x-klingon?q?a?=", ""},
		{"control characters", "Subject: a\x00\x1b[2Jb\r\n", "a??[2Jb", ""},
		{"no colon", "Subject\r\nDate: today\r\n", "", "today"},
		{"only a body", "\r\nSubject: Hello\r\n", "", ""},
		{"nothing", "", "", ""},
		{"continuation first", " Subject: x\r\nDate: today\r\n", "", "today"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := readHeader([]byte(tt.content))
			if h.subject != tt.subject || h.date != tt.date {
				t.Errorf("subject %q, date %q; want %q, %q", h.subject, h.date, tt.subject, tt.date)
			}
		})
	}
}

func TestReadHeaderIsBounded(t *testing.T) {
	h := readHeader([]byte("Subject: " + strings.Repeat("x", 1<<20) + "\r\nDate: today\r\n"))
	if len(h.subject) > maxField || h.date != "today" {
		t.Errorf("subject of %d octets, date %q", len(h.subject), h.date)
	}
}

func TestHeaderBlockKeepsEveryOctet(t *testing.T) {
	for content, want := range map[string]string{
		"A: b\r\n\r\nbody":        "A: b\r\n",
		"A: b\n\nbody":            "A: b\n",
		"A: b\r\n":                "A: b\r\n",
		"A: b":                    "A: b",
		"\r\nbody":                "",
		"":                        "",
		"A: b\r\n \r\nC: d\r\n\n": "A: b\r\n \r\nC: d\r\n",
	} {
		if got := string(headerBlock([]byte(content))); got != want {
			t.Errorf("headerBlock(%q) = %q, want %q", content, got, want)
		}
	}
}

func TestCutHeader(t *testing.T) {
	const block = "A: 1\r\nB: 2\r\n folded\r\nC: 3\r\n"
	for limit, want := range map[int]string{
		len(block): block, len(block) - 1: "A: 1\r\nB: 2\r\n folded\r\n", 14: "A: 1\r\n", 6: "A: 1\r\n", 5: "", 0: "",
	} {
		cut, complete := cutHeader([]byte(block), limit)
		if string(cut) != want || complete != (want == block) {
			t.Errorf("cutHeader(%d) = %q, %v; want %q", limit, cut, complete, want)
		}
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add([]byte(original))
	f.Add([]byte("Subject: =?utf-8?b?/w==?=\r\nMessage-ID: <a@b\r\n>\r\nReferences: <\r\n x@y>\r\n\r\n"))
	f.Add([]byte(" \n:\n\r\n"))
	f.Add([]byte("Subject\x00: \x1b\r\rDate:\n\tx"))
	f.Fuzz(func(t *testing.T, content []byte) {
		h := readHeader(content)
		for _, value := range append(h.references, h.subject, h.date, h.messageID) {
			if strings.ContainsAny(value, "\r\n\x00") {
				t.Errorf("value %q can leave its place", value)
			}
		}
		for _, id := range append(h.references, h.messageID) {
			if id != "" && !validMessageID(id) {
				t.Errorf("%q is no Message-ID", id)
			}
		}
		if len(h.references) > maxReferences || len(h.subject) > 2*maxField {
			t.Errorf("%d references, subject of %d octets", len(h.references), len(h.subject))
		}
		block := headerBlock(content)
		if !bytes.HasPrefix(content, block) {
			t.Error("the header block is no prefix of the content")
		}
		cut, complete := cutHeader(block, 40)
		if !bytes.HasPrefix(block, cut) || len(cut) > 40 || complete != (len(cut) == len(block)) {
			t.Errorf("cut %q of %q", cut, block)
		}
	})
}
