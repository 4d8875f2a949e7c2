// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"context"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
)

// leg is one question to one server over one transport, with the repetitions that transport needs.
type leg struct {
	ask       *ask
	transport dnstransport.Transport
	began     time.Time
	// Set when the leg has ended.
	result dnsquery.Result
	ended  time.Time
}

func (l *leg) run(ctx context.Context, why string) reply {
	t := l.ask.x.o.Timeouts
	limit := t.UDPFirst + t.UDPSecond
	if l.transport == dnstransport.TCP {
		limit = t.TCPTotal
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var r reply
	if l.transport == dnstransport.TCP {
		r = l.overTCP(ctx, why)
	} else {
		r = l.overUDP(ctx, why)
	}
	if r.result == dnsquery.ResultServFail {
		r = l.checkBogus(ctx, r)
	}
	return r
}

// overTCP asks once, and once more without EDNS0 when that is the fault.
func (l *leg) overTCP(ctx context.Context, why string) reply {
	now := l.ask.x.o.Now
	edns := l.ask.server.edns(now())
	r := l.send(ctx, sending{edns: edns, why: why})
	if edns && r.result == dnsquery.ResultNoEDNS {
		l.ask.server.noEDNS(now())
		return l.send(ctx, sending{why: "tcp: " + r.message.RcodeName() + " to EDNS0"})
	}
	return r
}

// checkBogus asks a server that said SERVFAIL again with checking disabled: if it answers now, it is validation that
// failed (R-40; RFC 4035, section 3.2.2). The answer itself is not used.
func (l *leg) checkBogus(ctx context.Context, r reply) reply {
	ctx, cancel := context.WithTimeout(ctx, l.ask.x.o.Timeouts.UDPFirst)
	defer cancel()
	edns := l.ask.server.edns(l.ask.x.o.Now())
	unchecked := l.send(ctx, sending{edns: edns, cd: true, why: string(l.transport) + ": SERVFAIL, is it validation?"})
	if unchecked.result == dnsquery.ResultAnswered || unchecked.result == dnsquery.ResultTruncated {
		r.result = dnsquery.ResultBogus
	}
	return r
}
