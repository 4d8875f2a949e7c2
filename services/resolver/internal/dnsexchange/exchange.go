// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
)

// Timeouts bound the steps of a lookup.
type Timeouts struct {
	// UDPFirst and UDPSecond are the waits for an answer to the first and to the second query over UDP.
	UDPFirst, UDPSecond time.Duration
	// TCPConnect bounds the handshake, TCPTotal the whole exchange with it.
	TCPConnect, TCPTotal time.Duration
	// Lookup bounds a question at up to two servers; LookupPerServer is added for each further one.
	Lookup, LookupPerServer time.Duration
}

// DefaultTimeouts are those of R-36.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		UDPFirst: time.Second, UDPSecond: 2 * time.Second,
		TCPConnect: 2 * time.Second, TCPTotal: 5 * time.Second,
		Lookup: 15 * time.Second, LookupPerServer: 5 * time.Second,
	}
}

// Sent is one query that was sent, for metrics.
type Sent struct {
	Server    netip.AddrPort
	Transport dnstransport.Transport
	Result    dnsquery.Result
	Took      time.Duration
}

// Options describe an Exchange.
type Options struct {
	// Servers are asked in this order. At least one.
	Servers []netip.AddrPort
	// Prefer is the transport to begin with.
	Prefer dnstransport.Transport
	// Trusted says whose AD bit is believed; nil is nobody's.
	Trusted func(netip.Addr) bool
	// Timeouts are the times of R-36.
	Timeouts Timeouts
	// FailureTTL is how long a server is not asked a question it failed; 0 is not at all.
	FailureTTL time.Duration
	// Health is the memory of servers.
	Health *serverhealth.Health
	// Tracer makes the dns.query spans; nil makes none.
	Tracer trace.Tracer
	// Observe is told every query; nil is allowed.
	Observe func(Sent)
	// TCPUnavailable is told a server whose TCP failed and whose UDP was used instead; nil is allowed.
	TCPUnavailable func(netip.AddrPort)
	// Now is the clock of the memories; nil is time.Now.
	Now func() time.Time
}

// Exchange asks servers. It is a dnsquery.Querier and safe for concurrent use.
type Exchange struct {
	o        Options
	servers  map[netip.AddrPort]*server
	failures *failures

	young chan struct{} // one for each question that is not slow yet, see enter

	life    context.Context //nolint:containedctx // ends with Close, for probes that outlive the question they ride on
	end     context.CancelFunc
	closing sync.Mutex // so that nothing begins behind Close's Wait
	asking  sync.WaitGroup
	probing sync.WaitGroup
}

// New returns an Exchange. Close ends what it does in the background.
func New(o Options) *Exchange {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Trusted == nil {
		o.Trusted = func(netip.Addr) bool { return false }
	}
	if o.Observe == nil {
		o.Observe = func(Sent) {}
	}
	if o.TCPUnavailable == nil {
		o.TCPUnavailable = func(netip.AddrPort) {}
	}
	x := &Exchange{
		o: o, servers: map[netip.AddrPort]*server{}, failures: newFailures(o.FailureTTL, o.Now), young: make(chan struct{}, maxYoung),
	}
	for _, addr := range o.Servers {
		x.servers[addr] = &server{addr: addr, trusted: o.Trusted(addr.Addr().Unmap())}
	}
	x.life, x.end = context.WithCancel(context.Background())
	return x
}

// Close gives up all questions and waits until nothing runs any more.
func (x *Exchange) Close() {
	x.closing.Lock()
	x.end()
	x.closing.Unlock()
	x.asking.Wait()
	x.probing.Wait()
}

// begin notes work that Close waits for; it reports false after Close.
func (x *Exchange) begin(work *sync.WaitGroup) bool {
	x.closing.Lock()
	defer x.closing.Unlock()
	if x.life.Err() != nil {
		return false
	}
	work.Add(1)
	return true
}

// limit is the time for a whole lookup.
func (x *Exchange) limit() time.Duration {
	further := max(len(x.o.Servers)-2, 0)
	return x.o.Timeouts.Lookup + time.Duration(further)*x.o.Timeouts.LookupPerServer
}

// Query asks the servers until one answers. The error is a *dnsquery.Failure, or that of ctx when it ended first.
func (x *Exchange) Query(ctx context.Context, q dnsquery.Question) (*dnsquery.Answer, error) {
	if !x.begin(&x.asking) {
		return nil, context.Canceled
	}
	defer x.asking.Done()
	leave, err := x.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	limited, cancel := context.WithTimeout(ctx, x.limit())
	defer cancel()
	defer context.AfterFunc(x.life, cancel)()
	x.probe(q)
	r := &race{x: x, q: q, cancel: cancel, events: make(chan event, 2*len(x.o.Servers))}
	answer, failure := r.run(limited)
	r.running.Wait()
	switch {
	case answer != nil:
		return answer, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		return nil, failure
	}
}

// maxYoung is the number of questions whose answer is expected any moment. More datagrams at once would overflow the
// socket buffer of an ordinary server and be lost.
const maxYoung = 128

// enter waits until a question may be asked. It counts until leave is called or the first wait for an answer is over:
// questions nobody answers must not hold up the others.
func (x *Exchange) enter(ctx context.Context) (leave func(), err error) {
	select {
	case x.young <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-x.life.Done():
		return nil, x.life.Err()
	}
	out := sync.OnceFunc(func() { <-x.young })
	timer := time.AfterFunc(x.o.Timeouts.UDPFirst, out)
	return func() {
		timer.Stop()
		out()
	}, nil
}

// probe sends the question beside the lookup to what is due for a probe. Only serverhealth looks at the result.
func (x *Exchange) probe(q dnsquery.Question) {
	for _, due := range x.o.Health.Due() {
		if !x.begin(&x.probing) {
			return
		}
		go func() {
			defer x.probing.Done()
			ctx, cancel := context.WithTimeout(x.life, x.limit())
			defer cancel()
			a := newAsk(x, x.servers[due.Server], q, "probe of a skipped server")
			if due.Transport == "" {
				a.run(ctx)
			} else {
				a.runOne(ctx, due.Transport)
			}
		}()
	}
}

// Forget drops the remembered failures of a name, or all for "".
func (x *Exchange) Forget(name string) { x.failures.forget(name) }
