// SPDX-License-Identifier: Apache-2.0

package dnswire

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// answered fills out from a NOERROR or NXDOMAIN message. Only records of the question's name, or of the alias chain
// that begins there, count (RFC 2181, section 5.4.1; R-37).
func answered(out *Message, m *dns.Msg, q dnsquery.Question) {
	a := &dnsquery.Answer{Name: q.Name}
	ttl := lifetime{}
	if !follow(a, &ttl, m.Answer, q) {
		out.Result, out.Loop = dnsquery.ResultAnswered, true
		return
	}
	found := false
	for _, rr := range m.Answer {
		if owns(rr, a.Name, q.Type) && add(a, rr) {
			ttl.add(rr.Header().Ttl)
			found = true
		}
	}
	out.Result, out.Answer = dnsquery.ResultAnswered, a
	if found {
		a.TTL = ttl.least
		return
	}
	a.NoName = m.Rcode == dns.RcodeNameError
	if negative, ok := proof(m.Ns, a.Name); ok {
		ttl.add(negative)
		a.TTL = ttl.least
		return
	}
	switch {
	case a.NoName:
	case a.Steps > 0:
		a.Open, a.TTL = true, ttl.least
	case referral(m.Ns):
		out.Result, out.Answer = dnsquery.ResultLame, nil
	default:
		out.Unproven = true
	}
}

// follow walks the aliases of the message from the question's name. It reports false for a loop or a chain longer than
// dnsquery.MaxAliases (RFC 1034, section 3.6.2).
func follow(a *dnsquery.Answer, ttl *lifetime, rrs []dns.RR, q dnsquery.Question) bool {
	if q.Type == dnsquery.TypeCNAME {
		return true
	}
	seen := make([]string, 0, 2)
	for {
		alias := aliasOf(rrs, a.Name)
		if alias == nil {
			return true
		}
		seen = append(seen, a.Name)
		if a.Steps == dnsquery.MaxAliases {
			return false
		}
		a.Steps++
		a.Name = plain(alias.Target)
		ttl.add(alias.Hdr.Ttl)
		if slices.Contains(seen, a.Name) {
			return false
		}
	}
}

func aliasOf(rrs []dns.RR, name string) *dns.CNAME {
	for _, rr := range rrs {
		if alias, ok := rr.(*dns.CNAME); ok && owns(rr, name, dnsquery.TypeCNAME) {
			return alias
		}
	}
	return nil
}

func owns(rr dns.RR, name string, t dnsquery.Type) bool {
	h := rr.Header()
	return h.Rrtype == uint16(t) && h.Class == dns.ClassINET && strings.EqualFold(h.Name, fqdn(name))
}

// add takes over one record of the question's type. It reports false for a type the resolver has no use for.
func add(a *dnsquery.Answer, rr dns.RR) bool {
	switch rr := rr.(type) {
	case *dns.MX:
		a.MX = append(a.MX, dnsquery.MX{Preference: rr.Preference, Host: plain(rr.Mx)})
	case *dns.A:
		if addr, ok := netip.AddrFromSlice(rr.A.To4()); ok {
			a.Addrs = append(a.Addrs, addr)
		}
	case *dns.AAAA:
		if addr, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok {
			a.Addrs = append(a.Addrs, addr)
		}
	case *dns.TXT:
		other(a).TXT = append(other(a).TXT, strings.Join(rr.Txt, ""))
	case *dns.TLSA:
		data, err := hex.DecodeString(rr.Certificate)
		if err != nil {
			return false
		}
		record := dnsquery.TLSA{Usage: rr.Usage, Selector: rr.Selector, MatchingType: rr.MatchingType, Data: data}
		other(a).TLSA = append(other(a).TLSA, record)
	case *dns.NS, *dns.DNSKEY, *dns.CNAME:
		// Asked for by the check of the servers only: that there are some is all it wants to know.
	default:
		return false
	}
	return true
}

func other(a *dnsquery.Answer) *dnsquery.Other {
	if a.Other == nil {
		a.Other = &dnsquery.Other{}
	}
	return a.Other
}

// proof returns the SOA that says how long the absence may be remembered (RFC 2308, section 5).
func proof(authority []dns.RR, name string) (ttl uint32, ok bool) {
	for _, rr := range authority {
		soa, isSOA := rr.(*dns.SOA)
		if isSOA && soa.Hdr.Class == dns.ClassINET && dns.IsSubDomain(soa.Hdr.Name, fqdn(name)) {
			return min(signless(soa.Hdr.Ttl), signless(soa.Minttl)), true
		}
	}
	return 0, false
}

// referral reports that the server only knows who might know.
func referral(authority []dns.RR) bool {
	for _, rr := range authority {
		if rr.Header().Rrtype == dns.TypeNS {
			return true
		}
	}
	return false
}

// lifetime is the lowest TTL of a chain of records.
type lifetime struct {
	least time.Duration
	some  bool
}

func (l *lifetime) add(ttl uint32) {
	d := time.Duration(signless(ttl)) * time.Second
	if !l.some || d < l.least {
		l.least, l.some = d, true
	}
}

// signless reads a TTL with the top bit set as 0 (RFC 2181, section 8).
func signless(ttl uint32) uint32 {
	if ttl > 1<<31-1 {
		return 0
	}
	return ttl
}
