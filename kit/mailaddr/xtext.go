// SPDX-License-Identifier: Apache-2.0

package mailaddr

import (
	"errors"
	"strings"
)

// ErrXText is a string that is not xtext.
var ErrXText = errors.New("not xtext: bytes outside ! to ~, a bare = or a + without two upper-case hexadecimal digits")

const hexDigits = "0123456789ABCDEF"

// EncodeXText returns s as xtext: octets outside "!" to "~", "+" and "=" become "+" and two upper-case hexadecimal
// digits (RFC 3461, section 4). It is used for ENVID and ORCPT.
func EncodeXText(s string) string {
	clean := true
	for i := range len(s) {
		clean = clean && isXChar(s[i])
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isXChar(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('+')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// DecodeXText returns the octets behind xtext (RFC 3461, section 4). The result may hold control characters, which the
// caller has to judge. The error is ErrXText.
func DecodeXText(s string) (string, error) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isXChar(c):
			b.WriteByte(c)
		case c == '+' && i+2 < len(s):
			high, low := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if high < 0 || low < 0 {
				return "", ErrXText
			}
			b.WriteByte(byte(high<<4 | low))
			i += 2
		default:
			return "", ErrXText
		}
	}
	return b.String(), nil
}

// isXChar reports an octet that stands for itself in xtext.
func isXChar(c byte) bool { return c >= '!' && c <= '~' && c != '+' && c != '=' }
