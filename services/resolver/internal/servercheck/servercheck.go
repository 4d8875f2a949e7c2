// SPDX-License-Identifier: Apache-2.0

// Package servercheck asks one DNS server in every way a lookup may use it, and says for each way what happened: over
// UDP, over TCP, with EDNS0, and through a truncated answer (R-38). It is the manual procedure "force TCP, ask for MX,
// repeat for each server" done at once, and it judges nothing: dnsexchange does not look at it.
package servercheck

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/dnswire"
)

// Names of the probes.
const (
	Plain      = "plain"
	EDNS       = "edns"
	Truncation = "truncation"
)

// Result is the word for what a probe came to.
type Result string

// The results.
const (
	OK        Result = "ok"
	Refused   Result = "refused"
	Reset     Result = "reset"
	Timeout   Result = "timeout"
	Malformed Result = "malformed"
	// Denied is an answer that says no: REFUSED, SERVFAIL or the like, or a lame one. The server is alive over this
	// transport; it only does not serve the question.
	Denied Result = "denied"
)

// Probe is one way of asking and what it came to.
type Probe struct {
	// Transport is the one that answered, or failed.
	Transport dnstransport.Transport
	// Name is plain, edns or truncation.
	Name string
	// Took is the time to the result.
	Took time.Duration
	Outcome
}

// Outcome is what came back.
type Outcome struct {
	// Result is the word.
	Result Result
	// Seen is the same in the words of a lookup, which tell more.
	Seen dnsquery.Result
	// Detail is a plain sentence when there is something to say.
	Detail string
}

// Alive reports that the server answered over the transport, whatever it said.
func (p *Probe) Alive() bool { return p.Result == OK || p.Result == Denied }

// Checker checks servers. The zero value cannot be used.
type Checker struct {
	// Name is the name whose MX is asked for; empty asks for the name servers of the root.
	Name string
	// First and Second are the waits over UDP, TCP the whole exchange over TCP, Connect its handshake.
	First, Second, TCP, Connect time.Duration
}

// smallSize makes most servers truncate the keys of the root.
const smallSize = 512

// Check asks a server in every way, all at once.
func (c Checker) Check(ctx context.Context, server netip.AddrPort) []Probe {
	q := dnsquery.Question{Type: dnsquery.TypeNS}
	large := dnsquery.Question{Type: dnsquery.TypeDNSKEY}
	if c.Name != "" {
		q = dnsquery.Question{Name: c.Name, Type: dnsquery.TypeMX}
		large = q
	}
	probes := []func() Probe{
		func() Probe { return c.one(ctx, server, dnstransport.UDP, Plain, dnswire.Query{Question: q}) },
		func() Probe { return c.one(ctx, server, dnstransport.TCP, Plain, dnswire.Query{Question: q}) },
		func() Probe {
			return c.one(ctx, server, dnstransport.UDP, EDNS, dnswire.Query{Question: q, EDNS: true})
		},
		func() Probe {
			return c.truncation(ctx, server, dnswire.Query{Question: large, EDNS: true, Size: smallSize})
		},
	}
	results := make([]Probe, len(probes))
	var wg sync.WaitGroup
	for i, probe := range probes {
		wg.Go(func() { results[i] = probe() })
	}
	wg.Wait()
	return results
}

func (c Checker) one(ctx context.Context, server netip.AddrPort, t dnstransport.Transport, name string, q dnswire.Query) Probe {
	began := time.Now()
	p := Probe{Transport: t, Name: name}
	p.Outcome, _ = c.try(ctx, server, t, q)
	p.Took = time.Since(began)
	return p
}

// truncation asks over UDP for more than fits, and the same over TCP as a lookup would. The transport told is the one
// that failed, else tcp.
func (c Checker) truncation(ctx context.Context, server netip.AddrPort, q dnswire.Query) Probe {
	began := time.Now()
	p := Probe{Transport: dnstransport.UDP, Name: Truncation}
	var truncated bool
	if p.Outcome, truncated = c.try(ctx, server, dnstransport.UDP, q); p.Result == OK {
		p.Transport = dnstransport.TCP
		p.Outcome, _ = c.try(ctx, server, dnstransport.TCP, q)
		if p.Result == OK && p.Detail == "" && !truncated {
			p.Detail = "The answer over UDP was not truncated; the question was asked over TCP all the same."
		}
	}
	p.Took = time.Since(began)
	return p
}

// local is a name servers know by themselves (RFC 6761, section 6.3).
const local = "localhost"

// try sends a query and names what came back. A server that is cut off from the root is silent about it, but still a
// server that works: it is asked for localhost then.
func (c Checker) try(ctx context.Context, server netip.AddrPort, t dnstransport.Transport, q dnswire.Query) (o Outcome, truncated bool) {
	m, err := c.ask(ctx, server, t, q)
	o = judge(m, err, t, q.EDNS)
	if (o.Result == Timeout || o.Result == Reset) && q.Question.Name == "" && ctx.Err() == nil {
		q.Question = dnsquery.Question{Name: local, Type: dnsquery.TypeA}
		m, err := c.ask(ctx, server, t, q)
		if again := judge(m, err, t, q.EDNS); again.Result == OK {
			again.Detail = "No answer about the root came in time, but one about localhost: the server works and may be cut off."
			return again, false
		}
	}
	return o, o.Seen == dnsquery.ResultTruncated
}

// ask sends a query; over UDP once more when the first is not answered, since a datagram may be lost.
func (c Checker) ask(ctx context.Context, server netip.AddrPort, t dnstransport.Transport, q dnswire.Query) (*dnswire.Message, error) {
	wait := c.First
	if t == dnstransport.TCP {
		wait = c.TCP
	}
	m, err := c.once(ctx, server, t, q, wait)
	var failed *dnstransport.Error
	if t == dnstransport.UDP && errors.As(err, &failed) && failed.Result == dnsquery.ResultTimeout {
		return c.once(ctx, server, t, q, c.Second)
	}
	return m, err
}

func (c Checker) once(ctx context.Context, server netip.AddrPort, t dnstransport.Transport, q dnswire.Query, wait time.Duration) (*dnswire.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return dnstransport.Ask(ctx, t, server, q, c.Connect)
}

// judge names what came back. A truncated answer is good over UDP and none over TCP; a server that does not understand
// EDNS0 (RFC 6891, section 7) fails the probe of it, and any other response code is an answer all the same.
func judge(m *dnswire.Message, err error, t dnstransport.Transport, edns bool) Outcome {
	var failed *dnstransport.Error
	if errors.As(err, &failed) {
		return silent(failed.Result)
	}
	o := Outcome{Result: Denied, Seen: m.Result}
	switch {
	case m.Result == dnsquery.ResultAnswered, m.Result == dnsquery.ResultTruncated && t == dnstransport.UDP:
		o.Result = OK
	case m.Result == dnsquery.ResultTruncated:
		o.Result, o.Detail = Malformed, "The answer over TCP is truncated as well."
	case m.Result == dnsquery.ResultNoEDNS && edns:
		o.Result, o.Detail = Malformed, fmt.Sprintf("The server answered %s to a question with EDNS0.", m.RcodeName())
	case m.Result == dnsquery.ResultLame:
		o.Detail = "The server neither is responsible for the name nor asks others (lame)."
	default:
		o.Detail = fmt.Sprintf("The server answered %s.", m.RcodeName())
	}
	return o
}

func silent(r dnsquery.Result) Outcome {
	o := Outcome{Seen: r}
	switch r {
	case dnsquery.ResultRefused:
		o.Result, o.Detail = Refused, "The port is closed."
	case dnsquery.ResultReset:
		o.Result, o.Detail = Reset, "The connection was closed before an answer came."
	case dnsquery.ResultUnreachable:
		o.Result, o.Detail = Refused, "There is no way to the server."
	case dnsquery.ResultMalformed:
		o.Result, o.Detail = Malformed, "What came back is no DNS answer to the question."
	case dnsquery.ResultCancelled:
		o.Result, o.Detail = Timeout, "The check was ended before an answer came."
	default:
		o.Result, o.Detail = Timeout, "No answer came in time."
	}
	return o
}
