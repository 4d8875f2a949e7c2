// SPDX-License-Identifier: Apache-2.0

package smtpreply

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestS31_Clean: text of a remote host reaches logs, notifications and answers as one harmless line.
func TestS31_Clean(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "No such user <bob@example.com>", "No such user <bob@example.com>"},
		{"empty", "", ""},
		{"NUL", "a\x00b", "a?b"},
		{"header injection", "bad\r\nBcc: x@y", "bad??Bcc: x@y"},
		{"bare CR", "progress\rhidden", "progress?hidden"},
		{"escape sequence", "\x1b[31mred\x1b[0m", "?[31mred?[0m"},
		{"DEL", "a\x7f", "a?"},
		{"C1 control as UTF-8", "a\u0085b\u009bc", "a?b?c"},
		{"tab", "a\tb", "a b"},
		{"valid UTF-8", "Ünbekannt 宛先", "Ünbekannt 宛先"},
		{"Latin-1", "\xdcnbekannt", "?nbekannt"},
		{"cut UTF-8", "a\xe5\xae", "a??"},
		{"line separators", "a\u2028b\u2029c", "a?b?c"},
		{"right-to-left override", "a\u202egpj.exe", "a?gpj.exe"},
		{"replacement character itself", "a\ufffdb", "a\ufffdb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Clean(tt.in); got != tt.want {
				t.Errorf("Clean(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

// FuzzClean: the result is one line of valid UTF-8 without controls, and cleaning it again changes nothing.
func FuzzClean(f *testing.F) {
	for _, seed := range []string{"plain", "a\r\nb", "\x1b[0m", "\xff\xfe", "ü", "\u202e", strings.Repeat("\x00", 40)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got := Clean(line)
		if !utf8.ValidString(got) {
			t.Fatalf("Clean(%q) = %q is not UTF-8", line, got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
				t.Fatalf("Clean(%q) = %q holds %U", line, got, r)
			}
		}
		if again := Clean(got); again != got {
			t.Fatalf("cleaned twice: %q, then %q", got, again)
		}
		if utf8.RuneCountInString(got) > len(line) {
			t.Fatalf("Clean(%q) grew to %q", line, got)
		}
	})
}
