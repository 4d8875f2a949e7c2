// SPDX-License-Identifier: Apache-2.0

package dnswire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// ErrForeign is a message that does not answer the query: id, QR or question differ. The real answer may still come
// (RFC 5452, section 9.1).
var ErrForeign = errors.New("message does not belong to the query")

// MalformedError is a message that belongs to the query but cannot be read.
type MalformedError struct{ Err error }

// Error tells what is wrong.
func (e *MalformedError) Error() string { return "malformed DNS message: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *MalformedError) Unwrap() error { return e.Err }

// Message is what a server said.
type Message struct {
	// Result is the word for it: answered, truncated, servfail, denied, no_edns, lame or malformed.
	Result dnsquery.Result
	// Rcode is the response code with the bits of EDNS (RFC 6891, section 6.1.3).
	Rcode int
	// Answer is set when Result is answered.
	Answer *dnsquery.Answer
	// Loop says that the alias chain loops or is longer than dnsquery.MaxAliases. Answer is nil then.
	Loop bool
	// Unproven says that there are no records and no SOA: NODATA from a good server, a lame answer from one that never
	// answered anything.
	Unproven bool
	// AuthenticData is the AD bit. Whether it is believed is the caller's choice.
	AuthenticData bool
	// EDNSError is the info code of an extended error (RFC 8914), -1 without one.
	EDNSError int
}

// RcodeName returns the mnemonic of the response code.
func (m *Message) RcodeName() string {
	if name, ok := dns.RcodeToString[m.Rcode]; ok {
		return name
	}
	return fmt.Sprintf("RCODE%d", m.Rcode)
}

const headerSize = 12

// Read judges a message that came from the server q was sent to. The error is ErrForeign or a *MalformedError.
func Read(wire []byte, q Query) (m *Message, err error) {
	defer func() {
		// A fault of ours that a remote message brings out must not end the process.
		if fault := recover(); fault != nil {
			m, err = nil, &MalformedError{Err: fmt.Errorf("panic: %v", fault)}
		}
	}()
	if len(wire) < headerSize || binary.BigEndian.Uint16(wire) != q.ID {
		return nil, ErrForeign
	}
	flags := binary.BigEndian.Uint16(wire[2:])
	const response, opcode, truncated, rcodes = 1 << 15, 0xf << 11, 1 << 9, 0xf
	rcode := int(flags & rcodes)
	if flags&response == 0 || flags&opcode != 0 {
		return nil, ErrForeign
	}
	if binary.BigEndian.Uint16(wire[4:]) == 0 && (rcode == dns.RcodeFormatError || rcode == dns.RcodeNotImplemented) {
		// Servers from before EDNS0 send back the bare header (RFC 6891, section 7).
		return &Message{Result: dnsquery.ResultNoEDNS, Rcode: rcode, EDNSError: -1}, nil
	}
	if !sameQuestion(wire, q.Question) {
		return nil, ErrForeign
	}
	if flags&truncated != 0 && (rcode == dns.RcodeSuccess || rcode == dns.RcodeNameError) {
		// Not even looked at: a partial answer is no answer (RFC 2181, section 9).
		return &Message{Result: dnsquery.ResultTruncated, Rcode: rcode, EDNSError: -1}, nil
	}
	var whole dns.Msg
	if err := whole.Unpack(wire); err != nil {
		return nil, &MalformedError{Err: err}
	}
	if len(whole.Answer) != count(wire, 6) || len(whole.Ns) != count(wire, 8) || len(whole.Extra) != count(wire, 10) {
		return nil, &MalformedError{Err: errors.New("fewer records than the header counts")}
	}
	return judge(&whole, q), nil
}

func count(wire []byte, at int) int { return int(binary.BigEndian.Uint16(wire[at:])) }

// sameQuestion reports that the message repeats exactly the question that was asked.
func sameQuestion(wire []byte, q dnsquery.Question) bool {
	if count(wire, 4) != 1 {
		return false
	}
	name, off, err := dns.UnpackDomainName(wire, headerSize)
	if err != nil || off+4 > len(wire) || !strings.EqualFold(name, fqdn(q.Name)) {
		return false
	}
	return binary.BigEndian.Uint16(wire[off:]) == uint16(q.Type) && binary.BigEndian.Uint16(wire[off+2:]) == dns.ClassINET
}

func judge(m *dns.Msg, q Query) *Message {
	out := &Message{Rcode: m.Rcode, AuthenticData: m.AuthenticatedData, EDNSError: extendedError(m)}
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	case dns.RcodeServerFailure:
		out.Result = dnsquery.ResultServFail
		return out
	case dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeBadVers:
		out.Result = dnsquery.ResultNoEDNS
		return out
	default:
		out.Result = dnsquery.ResultDenied
		return out
	}
	if !m.Authoritative && !m.RecursionAvailable {
		out.Result = dnsquery.ResultLame
		return out
	}
	answered(out, m, q.Question)
	return out
}

// extendedError returns the info code of RFC 8914, section 2, -1 without one.
func extendedError(m *dns.Msg) int {
	opt := m.IsEdns0()
	if opt == nil {
		return -1
	}
	for _, o := range opt.Option {
		if ede, ok := o.(*dns.EDNS0_EDE); ok {
			return int(ede.InfoCode)
		}
	}
	return -1
}
