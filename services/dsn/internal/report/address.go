// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// finalRecipient is an address with its type (RFC 3464, section 2.3.2). One that is not ASCII has the type utf-8
// (RFC 6533, section 3): as it is where the part may hold UTF-8, in its seven-bit form elsewhere (rule D-13). The field
// must be there, so what no line could hold is cut; an address the gateway took (256 octets) always fits.
func finalRecipient(address string, global bool) string {
	typed := "utf-8; " + address
	switch {
	case isASCII([]byte(address)):
		typed = "rfc822; " + address
	case !global:
		typed = "utf-8; " + sevenBit(address)
	}
	return prefixOctets(typed, maxLineLength-len("Final-Recipient: "))
}

// originalRecipient is ORCPT as it was given, decoded, type kept (RFC 3464, section 2.3.1), and "" when none was given.
// A type other than utf-8 cannot hold what is not ASCII: rfc822 then becomes utf-8, and an unknown type is left out of
// a seven-bit part.
func originalRecipient(kind, address string, global bool) string {
	if address == "" {
		return ""
	}
	if !isAtom(kind) {
		kind = "rfc822"
	}
	switch {
	case isASCII([]byte(address)):
		return kind + "; " + address
	case !strings.EqualFold(kind, "utf-8") && !strings.EqualFold(kind, "rfc822"):
		if !global {
			return ""
		}
		return kind + "; " + address
	case global:
		return "utf-8; " + address
	default:
		return "utf-8; " + sevenBit(address)
	}
}

// sevenBit writes an address in ASCII: utf-8-addr-xtext of RFC 6533, section 3. Characters that are not ASCII, and
// space, "+", "=" and "\", become \x{HEX}. An address that holds such sequences already is half encoded
// (utf-8-addr-unitext); of it only the characters that are not ASCII are written so.
func sevenBit(address string) string {
	half := strings.Contains(address, `\x{`)
	var b strings.Builder
	for _, r := range address {
		if r >= utf8.RuneSelf || !half && (r <= ' ' || r == 0x7f || r == '+' || r == '=' || r == '\\') {
			fmt.Fprintf(&b, `\x{%X}`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// isAtom reports a type name as it may stand in front of a typed address.
func isAtom(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 40
}
