// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/smtpreply"
)

// Request asks for a route.
type Request struct {
	// Domain is a domain in ASCII or Unicode, or an address literal (RFC 5321, section 4.1.3).
	Domain string
	// Smarthost is "[host]:port" for addresses only, "host" or "host:port" for the MX of the host.
	Smarthost string
	// Fresh asks DNS again for what is cached.
	Fresh bool
	// AnyTLS takes hosts that a TLS policy forbids (RFC 8689, section 4.2.2).
	AnyTLS bool
}

// SmarthostError is a smarthost that is none: a fault of the configuration, not of the mail.
type SmarthostError struct{ Problem string }

// Error returns the plain sentence.
func (e *SmarthostError) Error() string { return "smarthost: " + e.Problem }

// destination is where a request leads.
type destination struct {
	domain string     // as answered: lower-case A-labels, or the literal
	name   string     // the name whose MX or addresses are looked up
	addr   netip.Addr // dialled directly; valid for literals only
	direct bool       // addresses of name only, no MX
	port   uint16     // 0: the sender's
	smart  bool       // configured by us: its faults are not the recipient's
}

// parse reads a request. The first error is a verdict about the domain, the second a *SmarthostError.
func parse(r Request) (destination, *smtpreply.Error, error) {
	d, verdict := parseDomain(r.Domain)
	if r.Smarthost == "" || verdict != nil {
		return d, verdict, nil
	}
	smart, err := parseSmarthost(r.Smarthost)
	smart.domain = d.domain
	return smart, nil, err
}

func parseDomain(text string) (destination, *smtpreply.Error) {
	if strings.HasPrefix(text, "[") {
		addr, ok := mailaddr.ParseLiteral(text)
		if !ok {
			return destination{domain: smtpreply.Clean(text)}, verdict(smtpreply.ReasonBadLiteral,
				"The address literal is neither [192.0.2.1] nor [IPv6:2001:db8::1].")
		}
		return destination{domain: mailaddr.Literal(addr), addr: addr.Unmap()}, nil
	}
	name, err := mailaddr.ToASCII(text)
	if err != nil {
		failure := verdict(smtpreply.ReasonBadDomain, "The recipient's domain is no domain name: %s.", err)
		failure.Err = err
		return destination{domain: smtpreply.Clean(text)}, failure
	}
	return destination{domain: name, name: name}, nil
}

func parseSmarthost(text string) (destination, error) {
	d := destination{smart: true}
	host, bracketed := strings.CutPrefix(text, "[")
	var rest string
	if bracketed {
		var closed bool
		host, rest, closed = strings.Cut(host, "]")
		if !closed {
			return d, &SmarthostError{fmt.Sprintf("%q has no closing bracket", text)}
		}
		if rest != "" && !strings.HasPrefix(rest, ":") {
			return d, &SmarthostError{fmt.Sprintf("%q has something else than a port behind the bracket", text)}
		}
	} else if h, p, err := net.SplitHostPort(text); err == nil {
		host, rest = h, ":"+p
	}
	if rest != "" {
		port, err := strconv.ParseUint(rest[1:], 10, 16)
		if err != nil || port == 0 {
			return d, &SmarthostError{fmt.Sprintf("%q has no port from 1 to 65535 behind the colon", text)}
		}
		d.port = uint16(port)
	}
	if bracketed {
		if addr, err := netip.ParseAddr(strings.TrimPrefix(host, "IPv6:")); err == nil && addr.Zone() == "" {
			d.addr = addr.Unmap()
			return d, nil
		}
	}
	name, err := mailaddr.ToASCII(host)
	if err != nil {
		return d, &SmarthostError{fmt.Sprintf("%q: %s", text, err)}
	}
	d.name, d.direct = name, bracketed
	return d, nil
}

// verdict is a failure of the route without a cause of its own.
func verdict(reason smtpreply.Reason, format string, args ...any) *smtpreply.Error {
	return &smtpreply.Error{Stage: smtpreply.StageResolve, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
