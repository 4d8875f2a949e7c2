// SPDX-License-Identifier: Apache-2.0

package mailaddr

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	// maxName is the longest domain name in text form (RFC 1035, section 2.3.4: 255 octets on the wire).
	maxName = 253
	// maxLabel is the longest label (RFC 1035, section 2.3.4).
	maxLabel = 63
)

// checkDomain checks the domain or address literal of a mailbox.
func checkDomain(domain string) error {
	switch {
	case domain == "":
		return fault(ReasonEmpty, "address has an empty domain")
	case len(domain) > MaxDomain:
		return fault(ReasonTooLong, "domain is longer than 255 octets")
	case domain[0] == '[':
		return checkLiteral(domain)
	case strings.ContainsAny(domain, "<>()\", "):
		return fault(ReasonBrackets, "address has brackets, a comment or a second address")
	case strings.IndexByte(domain, '@') >= 0:
		return fault(ReasonLocal, "address has more than one @ sign; quote the local part")
	case strings.IndexByte(domain, ':') >= 0:
		return fault(ReasonPort, "address has a port or a colon in its domain")
	}
	ascii, err := ToASCII(domain)
	if err != nil {
		return err
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label[0] == '-' || label[len(label)-1] == '-' {
			return fault(ReasonDomain, "domain has a label that begins or ends with a hyphen")
		}
	}
	return nil
}

// ToASCII returns a domain name in lower-case A-label form. Names with non-ASCII letters or an xn-- label are mapped by
// UTS #46, non-transitional; pure ASCII names need only the syntax of CheckHost. It takes no address literal and
// no trailing dot. Errors are *ParseError with 5.1.2.
func ToASCII(domain string) (string, error) {
	ascii := strings.ToLower(domain)
	if !isASCII(domain) || strings.HasPrefix(ascii, "xn--") || strings.Contains(ascii, ".xn--") {
		if len(domain) > 4*MaxDomain {
			return "", fault(ReasonDomain, "domain is longer than 255 octets")
		}
		// The mapping would let bytes that are not UTF-8 pass as U+FFFD, which names nothing.
		if strings.ContainsRune(domain, utf8.RuneError) {
			return "", fault(ReasonDomain, "domain is not UTF-8")
		}
		profile := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false),
			idna.StrictDomainName(false), idna.CheckHyphens(false))
		mapped, err := profile.ToASCII(domain)
		if err != nil {
			return "", fault(ReasonDomain, "domain is not a valid internationalised name")
		}
		ascii = strings.ToLower(mapped)
	}
	if err := CheckHost(ascii); err != nil {
		return "", err
	}
	return ascii, nil
}

// CheckHost checks an ASCII host or domain name: up to 253 octets, labels of 1 to 63 letters, digits, hyphens or
// underscores, not an IP address in text form. Errors are *ParseError with 5.1.2.
func CheckHost(name string) error {
	if name == "" {
		return fault(ReasonDomain, "domain is empty")
	}
	if len(name) > maxName {
		return fault(ReasonDomain, "domain is longer than 253 octets in DNS form")
	}
	label := 0
	numeric := true
	for i := range len(name) {
		c := name[i]
		if c == '.' {
			if label == 0 {
				return fault(ReasonDomain, "domain has an empty label")
			}
			label = 0
			continue
		}
		if !isHostByte(c) {
			return fault(ReasonDomain, "domain has a character that no host name has")
		}
		numeric = numeric && c >= '0' && c <= '9'
		if label++; label > maxLabel {
			return fault(ReasonDomain, "domain has a label longer than 63 octets")
		}
	}
	if label == 0 {
		return fault(ReasonDomain, "domain ends in a dot")
	}
	if numeric {
		if _, err := netip.ParseAddr(name); err == nil {
			return fault(ReasonDomain, "domain is an IP address; write it as an address literal in brackets")
		}
	}
	return nil
}

func isHostByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// checkLiteral checks an address literal of a mailbox.
func checkLiteral(domain string) error {
	if _, ok := ParseLiteral(domain); ok {
		return nil
	}
	if end := strings.IndexByte(domain, ']'); end >= 0 && strings.HasPrefix(domain[end+1:], ":") {
		return fault(ReasonPort, "address has a port")
	}
	return fault(ReasonLiteral, "address literal is neither [192.0.2.1] nor [IPv6:2001:db8::1]")
}

// ParseLiteral reads an address literal with its brackets, "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321,
// section 4.1.3). Other tags and zones are not known.
func ParseLiteral(literal string) (addr netip.Addr, ok bool) {
	if len(literal) < 2 || literal[0] != '[' || literal[len(literal)-1] != ']' {
		return netip.Addr{}, false
	}
	text := literal[1 : len(literal)-1]
	const tag = "IPv6:"
	tagged := len(text) > len(tag) && strings.EqualFold(text[:len(tag)], tag)
	if tagged {
		text = text[len(tag):]
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || addr.Is4() == tagged {
		return netip.Addr{}, false
	}
	return addr, true
}

// Literal returns the address literal of an IP address in its canonical form (RFC 5321, section 4.1.3; RFC 5952).
func Literal(addr netip.Addr) string {
	if addr.Is4() {
		return "[" + addr.String() + "]"
	}
	return "[IPv6:" + addr.WithZone("").String() + "]"
}
