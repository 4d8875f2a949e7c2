// SPDX-License-Identifier: Apache-2.0

package dnswire

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// UDPSize is the payload size announced with EDNS0: it passes without fragments almost everywhere.
const UDPSize = 1232

// MaxSize is the largest DNS message (RFC 1035, section 4.2.2: two octets of length).
const MaxSize = 65535

// Query is one message to a server.
type Query struct {
	// Question is what is asked.
	Question dnsquery.Question
	// ID is the random id (RFC 5452, section 9.1).
	ID uint16
	// EDNS adds an OPT record with the DO bit (RFC 6891, section 6.1; RFC 3225).
	EDNS bool
	// Size is the payload size announced with EDNS; 0 is UDPSize.
	Size uint16
	// CheckingDisabled asks for data that failed validation (RFC 4035, section 3.2.2; R-40).
	CheckingDisabled bool
}

// Pack returns the message, with recursion desired. It fails for a name that is no domain name.
func (q Query) Pack() ([]byte, error) {
	var m dns.Msg
	m.Id = q.ID
	m.RecursionDesired = true
	m.CheckingDisabled = q.CheckingDisabled
	m.Question = []dns.Question{{Name: fqdn(q.Question.Name), Qtype: uint16(q.Question.Type), Qclass: dns.ClassINET}}
	if q.EDNS {
		size := q.Size
		if size == 0 {
			size = UDPSize
		}
		m.SetEdns0(size, true)
	}
	wire, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack query %s: %w", q.Question, err)
	}
	return wire, nil
}

func fqdn(name string) string { return name + "." }

// plain is the form of names used above the wire: lower case, no trailing dot.
func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
