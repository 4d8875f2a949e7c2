// SPDX-License-Identifier: Apache-2.0

package dnstest

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Limits of an answer.
const (
	ednsSize  = 1232 // what our OPT record says we take
	plainSize = 512  // UDP without EDNS0 (RFC 1035, section 2.3.4)
	maxChain  = 32   // CNAME steps in one answer
)

// Answer is the honest answer of a recursive resolver to a query, before truncation.
func (z *Zone) Answer(q *dns.Msg) *dns.Msg {
	r := new(dns.Msg).SetReply(q)
	r.RecursionAvailable = true
	r.CheckingDisabled = q.CheckingDisabled
	if opt := q.IsEdns0(); opt != nil {
		r.SetEdns0(ednsSize, opt.Do())
		if opt.Version() != 0 {
			r.Rcode = dns.RcodeBadVers
			return r
		}
	}
	switch {
	case q.Opcode != dns.OpcodeQuery:
		r.Rcode = dns.RcodeNotImplemented
	case len(q.Question) != 1:
		r.Rcode = dns.RcodeFormatError
	case q.Question[0].Qclass != dns.ClassINET:
		r.Rcode = dns.RcodeRefused
	default:
		z.fill(r, q.Question[0])
	}
	return r.Copy() // so that nobody who changes it changes the zone
}

// fill puts answer or SOA and the return code into r, following CNAME records (RFC 1034, section 4.3.2).
func (z *Zone) fill(r *dns.Msg, q dns.Question) {
	name := q.Name
	for range maxChain {
		rrs, exists := z.lookup(name)
		found := slices.DeleteFunc(slices.Clone(rrs), func(rr dns.RR) bool {
			return q.Qtype != dns.TypeANY && rr.Header().Rrtype != q.Qtype
		})
		if len(found) > 0 {
			r.Answer = append(r.Answer, found...)
			return
		}
		i := slices.IndexFunc(rrs, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeCNAME })
		if i < 0 {
			if !exists {
				r.Rcode = dns.RcodeNameError
			}
			r.Ns = append(r.Ns, z.soa(name))
			return
		}
		if slices.ContainsFunc(r.Answer, func(rr dns.RR) bool { return dns.IsDuplicate(rr, rrs[i]) }) {
			return // a loop: the chain is all there is
		}
		r.Answer = append(r.Answer, rrs[i])
		name = rrs[i].(*dns.CNAME).Target
	}
}

// lookup gives the records of a name, by a wildcard if need be (RFC 4592, section 3.3.1), and whether the name exists.
func (z *Zone) lookup(name string) (rrs []dns.RR, exists bool) {
	owner := dns.CanonicalName(name)
	if z.names[owner] {
		return z.records[owner], true
	}
	for at, end := dns.NextLabel(owner, 0); ; at, end = dns.NextLabel(owner, at) {
		encloser := "."
		if !end {
			encloser = owner[at:]
		}
		if !z.names[encloser] && !end {
			continue
		}
		for _, rr := range z.records["*."+strings.TrimPrefix(encloser, ".")] {
			rr = dns.Copy(rr)
			rr.Header().Name = name
			rrs = append(rrs, rr)
		}
		return rrs, len(rrs) > 0
	}
}

// soa is the nearest SOA record above a name, or one made up for its top label, with a minimum of DefaultTTL.
func (z *Zone) soa(name string) dns.RR {
	owner := dns.CanonicalName(name)
	apex := "."
	for at, end := 0, owner == "."; !end; at, end = dns.NextLabel(owner, at) {
		apex = owner[at:]
		for _, rr := range z.records[apex] {
			if soa, ok := rr.(*dns.SOA); ok {
				soa = dns.Copy(soa).(*dns.SOA)
				soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
				return soa
			}
		}
	}
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: apex, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: DefaultTTL},
		Ns:  "ns." + strings.TrimPrefix(apex, "."), Mbox: "hostmaster." + strings.TrimPrefix(apex, "."),
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: DefaultTTL,
	}
}
