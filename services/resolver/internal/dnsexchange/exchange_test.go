// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
	"github.com/postrider/postrider/testkit/dnstest"
)

const zone = `
	example.test      MX  10 mx1.example.test
	example.test      MX  20 mx2.example.test
	mx1.example.test  A   192.0.2.1
`

var (
	mxQuestion = dnsquery.Question{Name: "example.test", Type: dnsquery.TypeMX}
	noName     = dnsquery.Question{Name: "nothing.test", Type: dnsquery.TypeMX}
)

// patient are times no healthy step on loopback comes near, so that nothing is sent twice by chance.
func patient() Timeouts {
	return Timeouts{
		UDPFirst: 10 * time.Second, UDPSecond: 10 * time.Second, TCPConnect: 10 * time.Second, TCPTotal: 20 * time.Second,
		Lookup: 30 * time.Second, LookupPerServer: 5 * time.Second,
	}
}

// brisk are times for tests that must run into them.
func brisk() Timeouts {
	return Timeouts{
		UDPFirst: 150 * time.Millisecond, UDPSecond: 300 * time.Millisecond,
		TCPConnect: 300 * time.Millisecond, TCPTotal: 600 * time.Millisecond,
		Lookup: 10 * time.Second, LookupPerServer: 5 * time.Second,
	}
}

// bench is an Exchange over test servers, with a clock that stands until it is moved.
type bench struct {
	*Exchange
	health *serverhealth.Health

	mu          sync.Mutex
	now         time.Time
	sent        []Sent
	changes     []serverhealth.Change
	unavailable []netip.AddrPort
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *bench) results(t dnstransport.Transport) []dnsquery.Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []dnsquery.Result
	for _, s := range b.sent {
		if s.Transport == t {
			all = append(all, s.Result)
		}
	}
	return all
}

// sentTo is the number of queries to a server that have ended.
func (b *bench) sentTo(srv *dnstest.Server) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, s := range b.sent {
		if s.Server == srv.Addr() {
			n++
		}
	}
	return n
}

type setting struct {
	prefer   dnstransport.Transport
	timeouts Timeouts
	ttl      time.Duration
	trusted  bool
}

func newBench(t *testing.T, s setting, servers ...*dnstest.Server) *bench {
	t.Helper()
	b := &bench{now: time.Unix(1_700_000_000, 0)}
	var addrs []netip.AddrPort
	for _, srv := range servers {
		addrs = append(addrs, srv.Addr())
	}
	b.health = serverhealth.New(addrs, b.clock, func(c serverhealth.Change) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changes = append(b.changes, c)
	})
	if s.prefer == "" {
		s.prefer = dnstransport.UDP
	}
	if s.timeouts == (Timeouts{}) {
		s.timeouts = patient()
	}
	b.Exchange = New(Options{
		Servers: addrs, Prefer: s.prefer, Timeouts: s.timeouts, FailureTTL: s.ttl, Health: b.health, Now: b.clock,
		Trusted: func(netip.Addr) bool { return s.trusted },
		Observe: func(one Sent) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.sent = append(b.sent, one)
		},
		TCPUnavailable: func(addr netip.AddrPort) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.unavailable = append(b.unavailable, addr)
		},
	})
	t.Cleanup(b.Close)
	return b
}

func query(t *testing.T, q dnsquery.Querier, question dnsquery.Question) (*dnsquery.Answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return q.Query(ctx, question)
}

func mustAnswer(t *testing.T, q dnsquery.Querier, question dnsquery.Question) *dnsquery.Answer {
	t.Helper()
	a, err := query(t, q, question)
	if err != nil {
		t.Fatalf("%s: %v", question, err)
	}
	return a
}

func mustFail(t *testing.T, q dnsquery.Querier, question dnsquery.Question, kind dnsquery.Kind) *dnsquery.Failure {
	t.Helper()
	a, err := query(t, q, question)
	var f *dnsquery.Failure
	if !errors.As(err, &f) {
		t.Fatalf("%s: answer %+v, error %v, want a failure", question, a, err)
	}
	if f.Kind != kind {
		t.Fatalf("%s: kind %d (%v), want %d", question, f.Kind, f, kind)
	}
	return f
}

func wantBoth(t *testing.T, a *dnsquery.Answer) {
	t.Helper()
	if len(a.MX) != 2 || a.MX[0].Host != "mx1.example.test" || a.MX[1].Host != "mx2.example.test" {
		t.Fatalf("MX %+v, want both hosts of the zone", a.MX)
	}
}

func TestAnswerRecordsAndAbsence(t *testing.T) {
	srv := dnstest.Start(t, zone)
	for _, prefer := range []dnstransport.Transport{dnstransport.UDP, dnstransport.TCP} {
		b := newBench(t, setting{prefer: prefer}, srv)
		wantBoth(t, mustAnswer(t, b, mxQuestion))
		if a := mustAnswer(t, b, noName); !a.NoName || !a.Empty() || a.TTL != dnstest.DefaultTTL*time.Second {
			t.Errorf("%s: %+v, want NXDOMAIN for a minute", prefer, a)
		}
		if a := mustAnswer(t, b, dnsquery.Question{Name: "mx1.example.test", Type: dnsquery.TypeAAAA}); a.NoName || !a.Empty() {
			t.Errorf("%s: %+v, want NODATA", prefer, a)
		}
		for _, got := range b.results(prefer.Other()) {
			t.Errorf("%s: a query over %s came to %s", prefer, prefer.Other(), got)
		}
	}
}

func TestR07_EveryServerFails(t *testing.T) {
	for name, behave := range map[string]dnstest.Behaviour{
		"servfail":  dnstest.RCode(dns.RcodeServerFailure),
		"refused":   dnstest.RCode(dns.RcodeRefused),
		"malformed": dnstest.Malformed,
		"silent":    dnstest.Drop,
		"garbage":   dnstest.Garbage,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
			one.SetBehaviour(dnstest.Match{}, behave)
			two.SetBehaviour(dnstest.Match{}, behave)
			b := newBench(t, setting{timeouts: brisk()}, one, two)
			f := mustFail(t, b, mxQuestion, dnsquery.Temporary)
			if len(f.Servers) != 2 || one.Count("example.test", dns.TypeMX) == 0 || two.Count("example.test", dns.TypeMX) == 0 {
				t.Errorf("failed %v, want both servers asked", f)
			}
			two.ClearBehaviour()
			wantBoth(t, mustAnswer(t, b, mxQuestion))
		})
	}
}
