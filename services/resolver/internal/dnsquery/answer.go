// SPDX-License-Identifier: Apache-2.0

package dnsquery

import (
	"net/netip"
	"time"
)

// MaxAliases is the longest chain of aliases that is followed.
const MaxAliases = 10

// Answer is what is known about a Question: records, or the knowledge that there are none.
type Answer struct {
	// Name is the owner name at the end of the alias chain; the question's name when it is no alias.
	Name string
	// Steps is the number of aliases between the question's name and Name (RFC 1034, section 3.6.2).
	Steps int
	// NoName is NXDOMAIN for Name; false with no records is NODATA.
	NoName bool
	// Open says that the message ended at Name without records and without proof that there are none: Name has to be
	// asked for itself.
	Open bool
	// Secure says that a trusted server validated the whole answer (RFC 4035, section 3.2.3; R-39).
	Secure bool
	// MX, Addrs, TXT and TLSA are the records of the question's type. Only one of them is filled.
	MX    []MX
	Addrs []netip.Addr
	TXT   []string
	TLSA  []TLSA
	// TTL is how long the answer may be kept, by the records alone; 0 is not at all.
	TTL time.Duration
	// Asked is when the answer arrived. Expires is when it must no longer be used; Asked for one that is not kept.
	Asked, Expires time.Time
}

// Empty reports that there is no record of the type.
func (a *Answer) Empty() bool {
	return len(a.MX) == 0 && len(a.Addrs) == 0 && len(a.TXT) == 0 && len(a.TLSA) == 0
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
func (l *Life) Add(a *Answer) { l.Join(Life{Asked: a.Asked, Expires: a.Expires}) }

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
