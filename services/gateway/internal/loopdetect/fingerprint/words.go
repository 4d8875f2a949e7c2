// SPDX-License-Identifier: Apache-2.0

package fingerprint

import (
	"bytes"
	"slices"
)

// maxWord is the most letters of a word; what has more is an id or no text.
const maxWord = 40

// kind is what one byte is to the reading of words.
type kind uint8

const (
	space kind = 1 << iota
	digit
	lower
	upper
	atom // other bytes that stand in an address as it is written without quotes (RFC 5321, section 4.1.2)
	other
)

// kinds is the kind of each byte. Bytes over 127 are letters of some script.
var kinds = func() (k [256]kind) {
	for b := range k {
		switch c := byte(b); {
		case c <= ' ' || c == 127:
			k[b] = space
		case c >= '0' && c <= '9':
			k[b] = digit
		case c >= 'a' && c <= 'z' || c > 127:
			k[b] = lower
		case c >= 'A' && c <= 'Z':
			k[b] = upper
		case bytes.IndexByte([]byte("!#$%&'*+-/=?^_`{|}~."), c) >= 0:
			k[b] = atom
		default:
			k[b] = other
		}
	}
	return k
}()

// writer puts down what counts of a text.
type writer struct {
	out []byte
	// labelled says that the word before announces an id, such as "Message-ID:".
	labelled bool
	// ids are message ids the header names, without angle brackets.
	ids []string
}

// part writes one text, at most maxText bytes of what is left of it.
func (w *writer) part(text []byte) {
	w.out = append(w.out, 1)
	w.labelled = false
	end := len(w.out) + maxText
	for at := 0; at < len(text) && len(w.out) < end; {
		at = w.next(text, at)
	}
	w.out = w.out[:min(end, len(w.out))]
}

// next writes the word that begins at a position, or skips the white space there, and returns the position behind it. Of
// a word the letters count, in lower case; of one with a digit, or an id, nothing; of one with addresses, those.
func (w *writer) next(text []byte, at int) int {
	var buf [maxWord + 1]byte
	n, from := 0, at
	seen, last, turns, address := kind(0), space, 0, false
	for ; at < len(text); at++ {
		b := text[at]
		k := kinds[b]
		if k == space {
			break
		}
		if b == '@' {
			address = true
		}
		if k&(lower|upper) != 0 {
			if k == upper && last == lower {
				turns++
			}
			if k == upper {
				b |= 0x20
			}
			if n < len(buf) {
				buf[n] = b
				n++
			}
		}
		seen |= k
		last = k
	}
	switch {
	case at == from:
		return at + 1
	case address:
		w.addresses(text[from:at])
	case seen&digit == 0 && n > 0: // what announces an id may stand before "=", ":" or "#" of its own
		letters := buf[:n]
		w.labelled = announces(letters)
		if !dated(letters) && turns < 2 && n <= maxWord && (n < 12 || !hexOnly(letters)) {
			w.out = append(w.out, letters...)
		}
	}
	return at
}

// announces reports a word behind which an id stands.
func announces(word []byte) bool {
	switch string(word) {
	case "id", "messageid", "msgid", "inreplyto", "references", "reference", "envid", "originalenvelopeid", "originalmessageid", "queueid":
		return true
	}
	return false
}

// dated reports the words of a date-time (RFC 5322, section 3.3). Within the hour that a print counts, those of other
// languages do not change but at midnight.
func dated(word []byte) bool {
	if len(word) < 2 || len(word) > 9 {
		return false
	}
	switch string(word) {
	case "mon", "tue", "wed", "thu", "fri", "sat", "sun", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
		"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "january", "february", "march", "april",
		"june", "july", "august", "september", "october", "november", "december", "am", "pm", "utc", "gmt", "cet", "cest", "est", "edt",
		"cst", "cdt", "mst", "mdt", "pst", "pdt":
		return true
	}
	return false
}

func hexOnly(word []byte) bool {
	for _, b := range word {
		if b < 'a' || b > 'f' {
			return false
		}
	}
	return true
}

// addresses writes the addresses in a word as they stand, and leaves out what stands around them and message ids, which
// look alike.
func (w *writer) addresses(word []byte) {
	for {
		at := bytes.IndexByte(word, '@')
		if at < 0 {
			break
		}
		from, to := at, at+1
		for from > 0 && inAddress(word[from-1]) {
			from--
		}
		for to < len(word) && (kinds[word[to]]&(digit|lower|upper) != 0 || word[to] == '.' || word[to] == '-') {
			to++
		}
		if !w.labelled && !looksMade(word[from:at]) && !slices.Contains(w.ids, string(word[from:to])) {
			w.out = append(append(w.out, 0), word[from:to]...)
		}
		word = word[to:]
	}
	w.labelled = false
}

func inAddress(b byte) bool { return kinds[b]&(digit|lower|upper|atom) != 0 }

// looksMade reports a local part that no person has: long, and digits and letters mixed through, or a time to the
// second. What is wrongly called one is left out of the print; so it is narrow.
func looksMade(local []byte) bool {
	if len(local) < 14 {
		return false
	}
	digits, groups, changes := 0, 0, 0
	var last, before kind
	for _, b := range local {
		k := kinds[b]
		if k == digit {
			digits++
			if before != digit {
				groups++
			}
		}
		before = k
		if letter := k & (lower | upper); last != 0 && (k == digit && last != digit || letter != 0 && last == digit) {
			changes++
		}
		if k&(digit|lower|upper) != 0 {
			last = k
		}
	}
	return digits >= 14 && len(local) > 15 || digits >= 10 && groups > 1 || digits >= 4 && changes >= 4
}

func trimSpace(p []byte) []byte {
	for len(p) > 0 && kinds[p[0]] == space {
		p = p[1:]
	}
	return p
}
