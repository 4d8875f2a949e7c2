// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"context"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// graceForEDNS is how long an answer without EDNS0 waits for one with it.
const graceForEDNS = 50 * time.Millisecond

// rounds are the queries of one leg over UDP. Without an answer to the first it asks again, with EDNS0 and without, and
// listens for all three. Only when the plain query alone is answered the server counts as one without EDNS0: a
// lost datagram must not cost ten minutes of DNSSEC.
type rounds struct {
	leg     *leg
	arrived chan datagram
	waiting int         // sent and not arrived
	timer   *time.Timer // for the second round, then for graceForEDNS
	again   bool        // the second round was sent
	edns    bool        // a query with EDNS0 waits for its answer
	held    *reply      // a plain answer within graceForEDNS
	failed  *reply      // the failure that tells most so far
}

// datagram is a reply and how it was asked for.
type datagram struct {
	reply
	edns bool
}

func (l *leg) overUDP(ctx context.Context, why string) reply {
	ctx, cancel := context.WithCancel(ctx)
	r := &rounds{leg: l, arrived: make(chan datagram, 3), edns: l.ask.server.edns(l.ask.x.o.Now())}
	r.timer = time.NewTimer(l.ask.x.o.Timeouts.UDPFirst)
	defer r.timer.Stop()
	r.send(ctx, r.edns, why)
	end := r.wait(ctx)
	cancel()
	for ; r.waiting > 0; r.waiting-- {
		<-r.arrived
	}
	return end
}

func (r *rounds) send(ctx context.Context, edns bool, why string) {
	r.waiting++
	go func() { r.arrived <- datagram{r.leg.send(ctx, sending{edns: edns, why: why}), edns} }()
}

func (r *rounds) wait(ctx context.Context) reply {
	for {
		select {
		case <-r.timer.C:
			if r.held != nil {
				r.noEDNS()
				return *r.held
			}
			r.repeat(ctx)
		case d := <-r.arrived:
			r.waiting--
			if end, done := r.take(ctx, d); done {
				return end
			}
		}
	}
}

// repeat sends the second round.
func (r *rounds) repeat(ctx context.Context) {
	if r.again {
		return
	}
	r.again = true
	r.send(ctx, r.edns, "udp: no answer yet")
	if r.edns {
		r.send(ctx, false, "udp: no answer to EDNS0 yet")
	}
}

func (r *rounds) noEDNS() { r.leg.ask.server.noEDNS(r.leg.ask.x.o.Now()) }

func (r *rounds) take(ctx context.Context, d datagram) (reply, bool) {
	switch {
	case d.edns && d.result == dnsquery.ResultNoEDNS:
		r.edns = false
		r.noEDNS()
		if !r.again {
			r.again = true
			r.send(ctx, false, "udp: "+d.message.RcodeName()+" to EDNS0")
		}
	case d.message != nil && !d.edns && r.edns:
		r.held = &d.reply
		r.timer.Reset(graceForEDNS)
	case d.message != nil:
		return d.reply, true
	case r.failed == nil || r.failed.result == dnsquery.ResultTimeout:
		r.failed = &d.reply
	}
	switch {
	case r.held != nil && (!r.edns || r.waiting == 0):
		return *r.held, true
	case r.waiting == 0 && r.failed != nil:
		return *r.failed, true
	default:
		return reply{}, false
	}
}
