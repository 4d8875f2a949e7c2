// SPDX-License-Identifier: Apache-2.0

package dnstest

import (
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Transport is how a query came.
type Transport string

// The transports.
const (
	UDP Transport = "udp"
	TCP Transport = "tcp"
)

// Query is one query that a server saw.
type Query struct {
	At        time.Time
	Transport Transport
	Conn      int            // TCP: number of the connection, from 1
	Source    netip.AddrPort // the client's address and port
	ID        uint16
	Name      string // as asked, case kept, with final dot
	Type      uint16 // such as dns.TypeMX
	RD        bool
	CD        bool
	AD        bool
	EDNS      bool // an OPT record was there
	DO        bool
	UDPSize   uint16 // of the OPT record; 0 without
}

func newQuery(m *dns.Msg, tr Transport, conn int, from netip.AddrPort) Query {
	q := Query{
		At: time.Now(), Transport: tr, Conn: conn, Source: from, ID: m.Id,
		RD: m.RecursionDesired, CD: m.CheckingDisabled, AD: m.AuthenticatedData,
	}
	if len(m.Question) > 0 {
		q.Name, q.Type = m.Question[0].Name, m.Question[0].Qtype
	}
	if opt := m.IsEdns0(); opt != nil {
		q.EDNS, q.DO, q.UDPSize = true, opt.Do(), opt.UDPSize()
	}
	return q
}

// Match selects queries. A zero field matches every value.
type Match struct {
	Transport Transport
	Name      string // case and final dot do not matter
	Type      uint16
}

func (m Match) normal() Match {
	if m.Name != "" {
		m.Name = dns.CanonicalName(m.Name)
	}
	return m
}

func (m Match) matches(q *Query) bool {
	return (m.Transport == "" || m.Transport == q.Transport) &&
		(m.Type == 0 || m.Type == q.Type) &&
		(m.Name == "" || strings.EqualFold(m.Name, q.Name))
}
