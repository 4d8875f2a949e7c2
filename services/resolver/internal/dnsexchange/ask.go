// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"context"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/dnswire"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
)

// reply is what a query, a leg or an ask came to. message is set when a message that can be read arrived.
type reply struct {
	transport dnstransport.Transport
	result    dnsquery.Result
	message   *dnswire.Message
}

// ask is one question to one server over its transports: the second one beside the first when that is slow or fails,
// and TCP when the answer over UDP is truncated.
type ask struct {
	x      *Exchange
	server *server
	q      dnsquery.Question
	why    string
	slowly func() // called once when the next server shall be asked beside

	preferred dnstransport.Transport
	replies   chan reply
	legs      map[dnstransport.Transport]*leg
	patience  *time.Timer
	running   int
	slow      bool
	truncated bool
}

func newAsk(x *Exchange, s *server, q dnsquery.Question, why string) *ask {
	return &ask{
		x: x, server: s, q: q, why: why, slowly: func() {}, preferred: x.o.Prefer,
		replies: make(chan reply, 2), legs: map[dnstransport.Transport]*leg{},
	}
}

// run asks until a transport carries an answer or both have failed, and tells serverhealth what was seen.
func (a *ask) run(ctx context.Context) reply {
	ctx, cancel := context.WithCancel(ctx)
	a.patience = time.NewTimer(time.Hour)
	defer a.patience.Stop()
	a.start(ctx, a.preferred, a.why)
	r := a.wait(ctx)
	cancel()
	for ; a.running > 0; a.running-- {
		<-a.replies // legs that lost end at once
	}
	o := a.observation(r)
	if o.Server == serverhealth.Worked && r.transport == dnstransport.UDP && o.TCP == serverhealth.Failed && a.x.o.Prefer == dnstransport.TCP {
		a.x.o.TCPUnavailable(a.server.addr)
	}
	a.x.o.Health.Observe(a.server.addr, o)
	return r
}

// runOne asks over one transport only and tells serverhealth of that transport.
func (a *ask) runOne(ctx context.Context, t dnstransport.Transport) {
	a.patience = time.NewTimer(time.Hour)
	defer a.patience.Stop()
	a.start(ctx, t, a.why)
	<-a.replies
	o := a.observation(reply{})
	o.Server = serverhealth.Unknown
	a.x.o.Health.Observe(a.server.addr, o)
}

func (a *ask) wait(ctx context.Context) reply {
	for {
		select {
		case <-a.patience.C:
			a.sluggish()
			a.second(ctx, "no answer over "+string(a.preferred)+" yet")
		case r := <-a.replies:
			a.running--
			if end, done := a.take(ctx, r); done {
				return end
			}
		}
	}
}

// take judges what a leg came to and starts the other one where that can help.
func (a *ask) take(ctx context.Context, r reply) (reply, bool) {
	switch {
	case r.result == dnsquery.ResultTruncated && r.transport == dnstransport.UDP:
		a.truncated = true
		a.second(ctx, "answer over udp is truncated")
	case r.result.Silent() && r.transport == dnstransport.UDP:
		a.sluggish()
		a.second(ctx, "udp: "+string(r.result))
	case r.result == dnsquery.ResultMalformed, r.result == dnsquery.ResultTruncated, r.result == dnsquery.ResultCancelled:
		// Over TCP there is nothing better to be had from this server.
	case r.result.Silent():
		a.second(ctx, "tcp: "+string(r.result))
	default:
		return r, true
	}
	if a.running > 0 {
		return reply{}, false
	}
	return a.bothFailed(r), true
}

// bothFailed is the result when no transport carried an answer.
func (a *ask) bothFailed(last reply) reply {
	tcp := a.legs[dnstransport.TCP]
	switch {
	case a.truncated && tcp != nil && tcp.result.Silent() && tcp.result != dnsquery.ResultMalformed:
		return reply{transport: dnstransport.TCP, result: dnsquery.ResultTCPBlocked}
	case last.result == dnsquery.ResultCancelled:
		return last
	default:
		return reply{transport: a.preferred, result: a.legs[a.preferred].result}
	}
}

// second starts the transport that has not been tried yet.
func (a *ask) second(ctx context.Context, why string) {
	if t := a.preferred.Other(); a.legs[t] == nil && ctx.Err() == nil {
		a.start(ctx, t, why)
	}
}

func (a *ask) start(ctx context.Context, t dnstransport.Transport, why string) {
	l := &leg{ask: a, transport: t, began: time.Now()}
	a.legs[t] = l
	a.running++
	a.patience.Reset(l.patience())
	go func() {
		r := l.run(ctx, why)
		l.result, l.ended = r.result, time.Now()
		a.replies <- r
	}()
}

func (a *ask) sluggish() {
	if !a.slow {
		a.slow = true
		a.slowly()
	}
}
