// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postrider/postrider/kit/smtpreply"
)

const (
	// foldWidth is the column free text is folded at (RFC 5322, section 2.1.1).
	foldWidth = 76
	// maxToken is the longest word, in octets, that is not broken when it is folded.
	maxToken = 900
)

// fieldWriter writes the fields of a delivery-status part (RFC 3464, section 2.1). Every value is cleaned again, so that
// no byte of it can end the field.
type fieldWriter struct {
	b bytes.Buffer
	// utf8 says that values may hold UTF-8 (RFC 6533, section 3); else what is not ASCII becomes "?".
	utf8 bool
}

// group begins a group of fields.
func (w *fieldWriter) group() {
	if w.b.Len() > 0 {
		w.b.WriteString("\r\n")
	}
}

// field writes a value that must not be folded, since white space may mean something in it. A value that is empty or
// does not fit a line is left out: a cut address would be another one.
func (w *fieldWriter) field(name, value string) {
	value = w.clean(value)
	if line := name + ": " + value; value != "" && len(line) <= maxLineLength {
		w.b.WriteString(line + "\r\n")
	}
}

// folded writes free text, folded at white space; endless words are broken.
func (w *fieldWriter) folded(name, value string) {
	column := len(name) + 1
	w.b.WriteString(name + ":")
	for word := range strings.FieldsSeq(w.clean(value)) {
		for len(word) > maxToken {
			head := prefixOctets(word, maxToken)
			w.b.WriteString("\r\n " + head)
			word = word[len(head):]
			column = foldWidth
		}
		if column+1+len(word) > foldWidth && column > len(name)+1 {
			w.b.WriteString("\r\n")
			column = 0
		}
		w.b.WriteString(" " + word)
		column += 1 + len(word)
	}
	w.b.WriteString("\r\n")
}

func (w *fieldWriter) clean(value string) string {
	value = smtpreply.Clean(value)
	if w.utf8 || isASCII([]byte(value)) {
		return value
	}
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, value)
}

// prefixOctets returns the longest prefix of s with at most n octets that does not cut a character.
func prefixOctets(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// rfc5322 is a date as it stands in header and report fields (RFC 5322, section 3.3).
func rfc5322(t time.Time) string { return t.UTC().Format("Mon, 2 Jan 2006 15:04:05 +0000") }
