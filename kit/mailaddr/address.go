// SPDX-License-Identifier: Apache-2.0

package mailaddr

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits in octets (RFC 5321, section 4.5.3.1). The path's counts the angle brackets.
const (
	MaxLocal  = 64
	MaxDomain = 255
	MaxPath   = 256
)

// Address is an envelope address as its submitter wrote it. The zero value is the null reverse-path.
type Address struct {
	// Local is the local part; a quoted one with its quotes.
	Local string
	// Domain is the domain, or an address literal with its brackets.
	Domain string
}

// Parse reads a Mailbox without angle brackets (RFC 5321, section 4.1.2; RFC 6531, section 3.3). The local part may
// have up to 64, the domain up to 255 and the address with angle brackets up to 256 octets. Quoted local parts are kept
// as given. Source routes, ports, display names and control characters are refused, never cleaned. Errors are
// *ParseError.
func Parse(s string) (Address, error) {
	if s == "" {
		return Address{}, fault(ReasonEmpty, "address is empty")
	}
	if len(s)+len("<>") > MaxPath {
		return Address{}, fault(ReasonTooLong, "address is longer than 256 octets with its angle brackets")
	}
	if err := checkText(s); err != nil {
		return Address{}, err
	}
	if s[0] == '@' {
		return Address{}, fault(ReasonSourceRoute, "address has a source route, or no local part")
	}
	end, err := localEnd(s)
	if err != nil {
		return Address{}, err
	}
	a := Address{Local: s[:end], Domain: s[end+1:]}
	if len(a.Local) > MaxLocal {
		return Address{}, fault(ReasonTooLong, "local part is longer than 64 octets")
	}
	if err := checkDomain(a.Domain); err != nil {
		return Address{}, err
	}
	return a, nil
}

// ParsePath reads a reverse-path or forward-path: a Mailbox, with or without its angle brackets. "" and "<>" are the
// null reverse-path (RFC 5321, section 4.5.5).
func ParsePath(s string) (Address, error) {
	if len(s) >= 2 && s[0] == '<' && s[len(s)-1] == '>' {
		s = s[1 : len(s)-1]
	}
	if s == "" {
		return Address{}, nil
	}
	return Parse(s)
}

// checkText refuses control characters and bytes that are not UTF-8.
func checkText(s string) error {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				return fault(ReasonControl, "address has a control character")
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			return fault(ReasonControl, "address is not UTF-8")
		}
		if unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			return fault(ReasonControl, "address has a control character")
		}
		i += size
	}
	return nil
}

// localEnd checks the local part and returns the index of the "@" behind it.
func localEnd(s string) (int, error) {
	if s[0] == '"' {
		return quotedEnd(s)
	}
	end := strings.IndexByte(s, '@')
	if end < 0 {
		return 0, fault(ReasonNoDomain, "address has no domain")
	}
	local := s[:end]
	if strings.ContainsAny(local, "<>") {
		return 0, fault(ReasonBrackets, "address has angle brackets")
	}
	for i := range len(local) {
		c := local[i]
		if c == '.' {
			if i == 0 || i == len(local)-1 || local[i-1] == '.' {
				return 0, fault(ReasonLocal, "local part has a dot at its end or two in a row; quote it")
			}
			continue
		}
		if !isAtext(c) {
			return 0, fault(ReasonLocal, "local part has a character that must be quoted")
		}
	}
	return end, nil
}

// quotedEnd is localEnd for a quoted string (RFC 5321, section 4.1.2, Quoted-string).
func quotedEnd(s string) (int, error) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
			if i == len(s) || s[i] >= utf8.RuneSelf {
				return 0, fault(ReasonLocal, "quoted local part has a bad escape")
			}
		case '"':
			if i+1 == len(s) {
				return 0, fault(ReasonNoDomain, "address has no domain")
			}
			if s[i+1] != '@' {
				return 0, fault(ReasonLocal, "quoted local part is followed by something else than a domain")
			}
			return i + 1, nil
		}
	}
	return 0, fault(ReasonLocal, "quoted local part has no closing quote")
}

// isAtext reports an octet of an Atom: atext of RFC 5322, section 3.2.3, or part of a UTF-8 character (RFC 6531).
func isAtext(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= utf8.RuneSelf:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// String returns the address without angle brackets, "" for the null reverse-path.
func (a Address) String() string {
	if a.IsNull() {
		return ""
	}
	return a.Local + "@" + a.Domain
}

// IsNull reports the null reverse-path.
func (a Address) IsNull() bool { return a == Address{} }

// IsASCII reports that the address can be sent to a host that does not offer SMTPUTF8.
func (a Address) IsASCII() bool { return isASCII(a.Local) && isASCII(a.Domain) }

// Equal reports whether two addresses mean the same mailbox as far as a relay may judge: local parts are compared
// bytewise (RFC 5321, section 2.4), domains in their A-label form without regard to case.
func (a Address) Equal(b Address) bool {
	return a.Local == b.Local && (a.Domain == b.Domain || a.Destination() == b.Destination())
}

// Key returns a string that is the same for equal addresses (see Equal) and different for others.
func (a Address) Key() string {
	if a.IsNull() {
		return ""
	}
	return a.Local + "@" + a.Destination()
}

// Destination returns where mail for the address goes: the domain in lower-case A-label form (UTS #46,
// non-transitional), or the address literal in its canonical form. "" for the null reverse-path. For an address that
// did not come from Parse and has no valid domain it is the domain in lower case.
func (a Address) Destination() string {
	if addr, ok := a.LiteralAddr(); ok {
		return Literal(addr)
	}
	ascii, err := ToASCII(a.Domain)
	if err != nil {
		return strings.ToLower(a.Domain)
	}
	return ascii
}

// ToASCII returns the address with its domain in A-label form, as it is sent to a host without SMTPUTF8 when only the
// domain is not ASCII (RFC 6531, section 3.2). ok is false when the local part needs SMTPUTF8.
func (a Address) ToASCII() (ascii Address, ok bool) {
	if !isASCII(a.Local) {
		return a, false
	}
	if isASCII(a.Domain) {
		return a, true
	}
	return Address{Local: a.Local, Domain: a.Destination()}, true
}

// IsLiteral reports whether the domain is an address literal.
func (a Address) IsLiteral() bool { return strings.HasPrefix(a.Domain, "[") }

// LiteralAddr returns the IP address of an address literal; ok is false for a domain name and for a malformed literal.
func (a Address) LiteralAddr() (addr netip.Addr, ok bool) { return ParseLiteral(a.Domain) }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
