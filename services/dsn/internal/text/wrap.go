// SPDX-License-Identifier: Apache-2.0

package text

import (
	"strings"
	"unicode/utf8"
)

const (
	// width is the column lines are wrapped at, so that quoted-printable needs no breaks of its own.
	width = 72
	// maxWord is the longest word, in runes, that is left whole: four octets each stay far below 998.
	maxWord = 200
)

// writer collects lines with CRLF endings.
type writer struct{ b strings.Builder }

func (w *writer) String() string { return w.b.String() }

// line writes one line that is not wrapped at spaces, only where a word is endless.
func (w *writer) line(indent, s string) {
	for utf8.RuneCountInString(s) > maxLine {
		head := prefixRunes(s, maxLine)
		w.b.WriteString(indent + head + "\r\n")
		s = s[len(head):]
	}
	w.b.WriteString(strings.TrimRight(indent+s, " ") + "\r\n")
}

// maxLine is the longest line in runes: with indent and at four octets a rune below 998.
const maxLine = 230

func (w *writer) blank() { w.b.WriteString("\r\n") }

// paragraph writes wrapped text and an empty line.
func (w *writer) paragraph(indent, s string) {
	w.wrapped(indent, s)
	w.blank()
}

// wrapped writes text wrapped at spaces, each line with the indent. Runs of spaces become one.
func (w *writer) wrapped(indent, s string) {
	room := width - len(indent)
	var line string
	var used int
	flush := func() {
		if used > 0 {
			w.line(indent, line)
		}
		line, used = "", 0
	}
	for word := range strings.FieldsSeq(s) {
		for utf8.RuneCountInString(word) > maxWord {
			flush()
			head := prefixRunes(word, maxWord)
			w.line(indent, head)
			word = word[len(head):]
		}
		n := utf8.RuneCountInString(word)
		if used > 0 && used+1+n > room {
			flush()
		}
		if used > 0 {
			line += " "
			used++
		}
		line += word
		used += n
	}
	flush()
}

// clip cuts s to at most n runes and marks the cut.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return prefixRunes(s, n) + " ..."
}

// prefixRunes returns the first n runes of s.
func prefixRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
