// SPDX-License-Identifier: Apache-2.0

package dnsquery

import (
	"net/netip"
	"strings"
)

// Result is the word for what one query to one server came to. It is used in spans, metrics and failures.
type Result string

// The results. All but ResultAnswered mean that the server did not answer this question.
const (
	// ResultAnswered is records, NODATA or NXDOMAIN.
	ResultAnswered Result = "answered"
	// ResultTruncated is an answer with the TC bit (RFC 7766, section 5).
	ResultTruncated Result = "truncated"
	// ResultRefused is a closed port.
	ResultRefused Result = "refused"
	// ResultReset is a connection that was reset or closed before the answer.
	ResultReset Result = "reset"
	// ResultUnreachable is a host or network without a route.
	ResultUnreachable Result = "unreachable"
	// ResultTimeout is no answer in time.
	ResultTimeout Result = "timeout"
	// ResultMalformed is an answer that cannot be read.
	ResultMalformed Result = "malformed"
	// ResultServFail is SERVFAIL.
	ResultServFail Result = "servfail"
	// ResultDenied is REFUSED, or another response code that is no answer.
	ResultDenied Result = "denied"
	// ResultNoEDNS is FORMERR, NOTIMP or BADVERS (RFC 6891, section 7).
	ResultNoEDNS Result = "no_edns"
	// ResultLame is a server that does not serve the question.
	ResultLame Result = "lame"
	// ResultBogus is an answer that fails DNSSEC validation.
	ResultBogus Result = "bogus"
	// ResultLoop is an alias chain that does not end.
	ResultLoop Result = "cname_loop"
	// ResultCancelled is a query given up because another one was answered, or nobody waits any more.
	ResultCancelled Result = "cancelled"
	// ResultTCPBlocked is a truncated answer that could not be had over TCP.
	ResultTCPBlocked Result = "dns_tcp_blocked"
)

// Silent reports that no message came that can be read: the transport is at fault, not the question.
func (r Result) Silent() bool {
	switch r {
	case ResultRefused, ResultReset, ResultUnreachable, ResultTimeout, ResultMalformed:
		return true
	default:
		return false
	}
}

// Kind says what a Failure means for the route.
type Kind int

// The kinds of failure. All are temporary: what is definite is an Answer.
const (
	// Temporary is no answer from any server.
	Temporary Kind = iota
	// Loop is an alias chain that does not end.
	Loop
	// TCPBlocked is truncated answers that no server would repeat over TCP.
	TCPBlocked
	// Bogus is an answer that fails DNSSEC validation.
	Bogus
)

// Failure is a question without an answer.
type Failure struct {
	// Question is what was asked.
	Question Question
	// Kind is what it means.
	Kind Kind
	// Servers is what each server came to, in the order asked. Empty for Loop.
	Servers []ServerFailure
}

// ServerFailure is what one server came to.
type ServerFailure struct {
	// Server is its address.
	Server netip.AddrPort
	// Result is the word.
	Result Result
	// Remembered says that the server was not asked again, since it failed the same question a moment ago.
	Remembered bool
}

// Error tells the question and each server's result.
func (f *Failure) Error() string {
	var b strings.Builder
	b.WriteString(f.Question.String())
	switch f.Kind {
	case Loop:
		b.WriteString(": alias loop, or more than 10 aliases")
	case Bogus:
		b.WriteString(": DNSSEC validation failed")
	case TCPBlocked:
		b.WriteString(": truncated answer, TCP not possible")
	default:
		b.WriteString(": no server answered")
	}
	for i, s := range f.Servers {
		sep := ", "
		if i == 0 {
			sep = " ("
		}
		b.WriteString(sep + s.Server.String() + " " + string(s.Result))
		if s.Remembered {
			b.WriteString(", remembered")
		}
	}
	if len(f.Servers) > 0 {
		b.WriteByte(')')
	}
	return b.String()
}
