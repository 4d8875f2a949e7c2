// SPDX-License-Identifier: Apache-2.0

package smtpreply

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns a line of remote text fit for logs, notifications and answers: NUL, CR, LF, escape and other control
// characters, bytes that are not UTF-8, line and paragraph separators and characters that turn the writing direction
// are each replaced by "?", a tab by a space. Valid UTF-8 is kept. The result is one line whatever came in, so that it
// can never become a header or a field of its own (RFC 3464, section 2.1.1; RFC 6533, section 3).
func Clean(line string) string {
	if isPlain(line) {
		return line
	}
	var b strings.Builder
	b.Grow(len(line))
	for i := 0; i < len(line); {
		r, size := utf8.DecodeRuneInString(line[i:])
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case r == utf8.RuneError && size == 1, unfit(r):
			b.WriteByte('?')
		default:
			b.WriteString(line[i : i+size])
		}
		i += size
	}
	return b.String()
}

// isPlain reports whether line is printable ASCII only.
func isPlain(line string) bool {
	for i := range len(line) {
		if line[i] < ' ' || line[i] > '~' {
			return false
		}
	}
	return true
}

// unfit reports whether r would act on a terminal, a log or a header instead of being shown.
func unfit(r rune) bool {
	return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) ||
		unicode.Is(unicode.Bidi_Control, r)
}
