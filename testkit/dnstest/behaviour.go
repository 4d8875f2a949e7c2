// SPDX-License-Identifier: Apache-2.0

package dnstest

import (
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Behaviour changes one exchange. Several run one after the other until one ends the exchange.
type Behaviour func(x *Exchange)

// rule is a set of behaviours and the queries they are for.
type rule struct {
	match      Match
	behaviours []Behaviour
}

// SetBehaviour makes the behaviours apply, in order, to the queries that match. Of several rules that match, the one
// set last applies alone; a rule with an equal Match is replaced. Without behaviours the queries are answered
// honestly, whatever an earlier rule says.
func (s *Server) SetBehaviour(m Match, b ...Behaviour) {
	m = m.normal()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = slices.DeleteFunc(slices.Clone(s.rules), func(r rule) bool { return r.match == m })
	s.rules = slices.Insert(s.rules, 0, rule{m, b})
}

// ClearBehaviour removes all rules: the server is honest again.
func (s *Server) ClearBehaviour() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

// Drop gives no answer. Over TCP the connection stays and later queries on it are served.
func Drop(x *Exchange) { x.Drop() }

// Hang gives no answer and serves no later query of a TCP connection, which stays open.
func Hang(x *Exchange) { x.Hang() }

// Reset ends a TCP connection with RST once the query has been read. Over UDP it is Drop.
func Reset(x *Exchange) { x.Reset() }

// CloseConn ends a TCP connection with FIN once the query has been read. Over UDP it is Drop.
func CloseConn(x *Exchange) { x.Close() }

// Slow waits before it goes on.
func Slow(d time.Duration) Behaviour { return func(x *Exchange) { x.Sleep(d) } }

// RCode answers with a return code alone, such as dns.RcodeServerFailure or dns.RcodeRefused.
func RCode(code int) Behaviour {
	return func(x *Exchange) {
		x.Reply.Rcode = code
		x.Reply.Answer, x.Reply.Ns = nil, nil
	}
}

// Truncate sets TC and empties the answer, over TCP as well (RFC 1035, section 4.1.1).
func Truncate(x *Exchange) {
	x.Reply.Truncated = true
	x.Reply.Answer, x.Reply.Ns = nil, nil
}

// TruncatePartly sets TC and leaves the first record of the answer only, which nobody may use (RFC 2181, section 9).
func TruncatePartly(x *Exchange) {
	x.Reply.Truncated = true
	x.Reply.Answer = x.Reply.Answer[:min(1, len(x.Reply.Answer))]
}

// WrongID answers with another message id (RFC 5452, section 9.1).
func WrongID(x *Exchange) { x.Reply.Id ^= 0x5555 }

// WrongQuestion answers with another name in the question section (RFC 5452, section 9.1).
func WrongQuestion(x *Exchange) {
	x.Reply.Question = []dns.Question{{Name: "wrong." + x.Query.Name, Qtype: x.Query.Type, Qclass: dns.ClassINET}}
}

// WrongType answers with another type in the question section.
func WrongType(x *Exchange) {
	x.Reply.Question = []dns.Question{{Name: x.Query.Name, Qtype: x.Query.Type + 1, Qclass: dns.ClassINET}}
}

// NoQuestion answers with an empty question section.
func NoQuestion(x *Exchange) { x.Reply.Question = nil }

// QueryBit answers with QR clear, as if the answer were a query.
func QueryBit(x *Exchange) { x.Reply.Response = false }

// Forged first sends a forged answer with these records, in master-file form, and a wrong id, then the honest one. It
// panics when the records cannot be read.
func Forged(records string) Behaviour {
	rrs := mustRecords(records)
	return func(x *Exchange) {
		f := x.Reply.Copy()
		f.Id ^= 0x5555
		f.Rcode, f.Ns, f.Answer = dns.RcodeSuccess, nil, rrs
		x.Send(f)
	}
}

// ForgedElsewhere first sends a forged answer with the right id from another source port, then the honest one (RFC
// 5452, section 9.1). It panics when the records cannot be read.
func ForgedElsewhere(records string) Behaviour {
	rrs := mustRecords(records)
	return func(x *Exchange) {
		f := x.Reply.Copy()
		f.Rcode, f.Ns, f.Answer = dns.RcodeSuccess, nil, rrs
		x.SendFromElsewhere(f)
	}
}

// OtherPort answers over UDP from another source port only; over TCP not at all.
func OtherPort(x *Exchange) {
	x.SendFromElsewhere(x.Reply)
	x.Drop()
}

// Malformed answers with the right header and question and an answer section that ends in the middle of a record.
func Malformed(x *Exchange) {
	m := x.Reply.Copy()
	m.Answer, m.Ns, m.Extra = nil, nil, nil
	b, err := m.Pack()
	if err != nil {
		x.srv.fault("pack a malformed answer: %v", err)
		x.Drop()
		return
	}
	b[7] = 3 // ANCOUNT
	x.SendRaw(append(b, 0xc0, 12, 0, 15, 0))
	x.Drop()
}

// Garbage answers with octets that are no DNS message at all.
func Garbage(x *Exchange) {
	x.SendRaw([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	x.Drop()
}

// CutFrame announces a whole message over TCP, sends half of it, and closes. Over UDP it sends half a message.
func CutFrame(x *Exchange) {
	b, err := x.pack(x.Reply)
	switch {
	case err != nil:
		x.srv.fault("pack an answer: %v", err)
	case x.tcp != nil:
		x.SendStream(append([]byte{byte(len(b) >> 8), byte(len(b))}, b[:len(b)/2]...))
	default:
		x.SendRaw(b[:len(b)/2])
	}
	x.Close()
}

// Lame answers as a server that is not responsible: neither authoritative nor recursive, a referral to another one
// (RFC 8499, section 7).
func Lame(x *Exchange) {
	x.Reply.Rcode, x.Reply.Answer = dns.RcodeSuccess, nil
	x.Reply.Authoritative, x.Reply.RecursionAvailable = false, false
	x.Reply.Ns = mustRecords("test. 3600 NS ns.elsewhere.test.")
}

// NoEDNS answers queries with an OPT record with this return code and without OPT, as an old server does
// (dns.RcodeFormatError, dns.RcodeNotImplemented; RFC 6891, section 7); queries without OPT are answered honestly.
func NoEDNS(code int) Behaviour {
	return func(x *Exchange) {
		if x.Query.EDNS {
			RCode(code)(x)
			x.Reply.Extra = nil
		}
	}
}

// DropEDNS gives no answer to queries with an OPT record; others are answered honestly.
func DropEDNS(x *Exchange) {
	if x.Query.EDNS {
		x.Drop()
	}
}

// BadVers answers queries with an OPT record BADVERS (RFC 6891, section 6.1.3); others honestly.
func BadVers(x *Exchange) {
	if x.Query.EDNS {
		RCode(dns.RcodeBadVers)(x)
	}
}

// IgnoreEDNS answers without OPT record and in at most 512 octets, as a server that does not know EDNS0.
func IgnoreEDNS(x *Exchange) {
	x.Reply.Extra = slices.DeleteFunc(x.Reply.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
	x.Query.EDNS = false
}

// AuthenticData sets the AD bit (RFC 4035, section 3.2.3).
func AuthenticData(x *Exchange) { x.Reply.AuthenticatedData = true }

// Bogus is a validating resolver that finds the data bogus: SERVFAIL, but the answer when CD is set (RFC 4035, section
// 3.2.2).
func Bogus(x *Exchange) {
	if !x.Query.CD {
		RCode(dns.RcodeServerFailure)(x)
	}
}

// Surplus adds records, in master-file form, to the answer section. It panics when they cannot be read.
func Surplus(records string) Behaviour {
	rrs := mustRecords(records)
	return func(x *Exchange) { x.Reply.Answer = append(x.Reply.Answer, rrs...) }
}

// Additional adds records, in master-file form, to the additional section. It panics when they cannot be read.
func Additional(records string) Behaviour {
	rrs := mustRecords(records)
	return func(x *Exchange) { x.Reply.Extra = append(x.Reply.Extra, rrs...) }
}

// NoSOA leaves the SOA record of a negative answer out (RFC 2308, section 2.2).
func NoSOA(x *Exchange) { x.Reply.Ns = nil }

// Oversized sends the whole answer over UDP, whatever size the client takes.
func Oversized(x *Exchange) { x.untrim = true }

// First applies behaviours to the first n queries that come to it; those after are answered honestly.
func First(n int, b ...Behaviour) Behaviour {
	left := make(chan struct{}, n)
	for range n {
		left <- struct{}{}
	}
	return func(x *Exchange) {
		select {
		case <-left:
			for _, one := range b {
				if one(x); x.done {
					return
				}
			}
		default:
		}
	}
}
