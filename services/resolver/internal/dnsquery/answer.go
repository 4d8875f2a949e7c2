// SPDX-License-Identifier: Apache-2.0

package dnsquery

import (
	"fmt"
	"net/netip"
	"time"
)

// MaxAliases is the longest chain of aliases that is followed.
const MaxAliases = 10

// Answer is what is known about a Question: records, or the knowledge that there are none.
type Answer struct {
	// Name is the owner name at the end of the alias chain; the question's name when it is no alias.
	Name string
	// MX and Addrs are the records of a question for MX, A or AAAA. Rarer types stand in Other.
	MX    []MX
	Addrs []netip.Addr
	Other *Other
	// TTL is how long the answer may be kept, by the records alone; 0 is not at all. Once it is kept it is how long.
	TTL time.Duration
	// Expires is when it must no longer be used; set when it is kept, and for an answer that is not kept its arrival.
	Expires time.Time
	// Steps is the number of aliases between the question's name and Name (RFC 1034, section 3.6.2).
	Steps uint8
	// NoName is NXDOMAIN for Name; false with no records is NODATA.
	NoName bool
	// Open says that the message ended at Name without records and without proof that there are none: Name has to be
	// asked for itself.
	Open bool
	// Secure says that a trusted server validated the whole answer (RFC 4035, section 3.2.3; R-39).
	Secure bool
}

// Texts are the records as a person reads them, "10 mx.example." or an address, at most 20, for spans and logs.
func (a *Answer) Texts() []string {
	const most = 20
	texts := make([]string, 0, min(most, len(a.MX))+min(most, len(a.Addrs)))
	for _, mx := range a.MX[:min(most, len(a.MX))] {
		texts = append(texts, fmt.Sprintf("%d %s.", mx.Preference, mx.Host))
	}
	for _, addr := range a.Addrs[:min(most, len(a.Addrs))] {
		texts = append(texts, addr.String())
	}
	return texts
}

// Other are the records of the types that are asked for rarely.
type Other struct {
	TXT  []string
	TLSA []TLSA
}

// Empty reports that there is no record of the type.
func (a *Answer) Empty() bool { return len(a.MX) == 0 && len(a.Addrs) == 0 && a.Other == nil }

// Asked is when a kept answer arrived.
func (a *Answer) Asked() time.Time { return a.Expires.Add(-a.TTL) }

// TXT are the records of a question for TXT, each in one piece.
func (a *Answer) TXT() []string {
	if a.Other == nil {
		return nil
	}
	return a.Other.TXT
}

// TLSA are the records of a question for TLSA.
func (a *Answer) TLSA() []TLSA {
	if a.Other == nil {
		return nil
	}
	return a.Other.TLSA
}

// MX is a mail exchange record (RFC 1035, section 3.3.9).
type MX struct {
	// Preference is the order; lower is tried first.
	Preference uint16
	// Host is the target; "" is the null MX (RFC 7505).
	Host string
}

// TLSA is a TLSA record (RFC 6698, section 2.1).
type TLSA struct {
	Usage, Selector, MatchingType uint8
	// Data is the certificate association data.
	Data []byte
}

// Life is the time within which something made of several answers may be used.
type Life struct {
	// Asked is when the oldest answer arrived, Expires when the first one ends. Both are zero for no answer at all.
	Asked, Expires time.Time
	// Ended says that something in it failed: it is for one use only.
	Ended bool
}

// Add takes one answer more.
func (l *Life) Add(a *Answer) { l.Join(Life{Asked: a.Asked(), Expires: a.Expires}) }

// Join takes the answers of another Life.
func (l *Life) Join(o Life) {
	l.Ended = l.Ended || o.Ended
	switch {
	case o.Asked.IsZero():
		return
	case l.Asked.IsZero():
		l.Asked, l.Expires = o.Asked, o.Expires
		return
	}
	if o.Asked.Before(l.Asked) {
		l.Asked = o.Asked
	}
	if o.Expires.Before(l.Expires) {
		l.Expires = o.Expires
	}
}

// Holds reports that it may be used at a moment.
func (l *Life) Holds(now time.Time) bool { return !l.Ended && now.Before(l.Expires) }
