// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/resolver/internal/dnscache"
	"github.com/postrider/postrider/services/resolver/internal/dnsexchange"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/inflight"
	"github.com/postrider/postrider/services/resolver/internal/ownhost"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
	"github.com/postrider/postrider/services/resolver/internal/specialaddr"
	"github.com/postrider/postrider/services/resolver/internal/tlspolicy"
	"github.com/postrider/postrider/testkit/dnstest"
)

// clock stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// rig is a Router over all DNS layers and real sockets.
type rig struct {
	*Router
	clock *clock
}

type rigOptions struct {
	own       []string
	addresses string // with spaces between
	listeners string
	allow     string
	prefer    dnstransport.Transport
	timeouts  dnsexchange.Timeouts
	ttl       time.Duration
	intn      func(int) int
	tls       tlspolicy.Source
}

func newRig(t testing.TB, o rigOptions, servers ...*dnstest.Server) *rig {
	t.Helper()
	at := &clock{now: time.Unix(1_700_000_000, 0)}
	var addrs []netip.AddrPort
	for _, s := range servers {
		addrs = append(addrs, s.Addr())
	}
	if o.prefer == "" {
		o.prefer = dnstransport.UDP
	}
	if o.timeouts == (dnsexchange.Timeouts{}) {
		o.timeouts = dnsexchange.Timeouts{
			UDPFirst: 10 * time.Second, UDPSecond: 10 * time.Second, TCPConnect: 10 * time.Second, TCPTotal: 20 * time.Second,
			Lookup: 30 * time.Second, LookupPerServer: 5 * time.Second,
		}
	}
	if o.tls == nil {
		o.tls = tlspolicy.Opportunistic{}
	}
	x := dnsexchange.New(dnsexchange.Options{
		Servers: addrs, Prefer: o.prefer, Timeouts: o.timeouts, FailureTTL: o.ttl, Now: at.Now,
		Health: serverhealth.New(addrs, at.Now, nil), Trusted: func(netip.Addr) bool { return true },
	})
	t.Cleanup(x.Close)
	cache := dnscache.New(dnscache.Options{Entries: 10_000, Now: at.Now})
	var guard specialaddr.Guard
	for _, p := range strings.Fields(o.allow) {
		guard.Allow = append(guard.Allow, netip.MustParsePrefix(p))
	}
	var ownAddrs []netip.Addr
	for _, a := range strings.Fields(o.addresses) {
		ownAddrs = append(ownAddrs, netip.MustParseAddr(a))
	}
	var listeners []netip.AddrPort
	for _, l := range strings.Fields(o.listeners) {
		listeners = append(listeners, netip.MustParseAddrPort(l))
	}
	return &rig{clock: at, Router: New(Options{
		DNS: cache.Over(inflight.New(cache.Keep(x))), TLS: o.tls, Own: ownhost.New(o.own, ownAddrs, listeners),
		Guard: guard, Port: 25, Entries: 1000, Now: at.Now, IntN: o.intn,
	})}
}

func (r *rig) resolve(t testing.TB, domain string) *resolverv1.ResolveRouteResponse {
	t.Helper()
	return r.request(t, Request{Domain: domain})
}

func (r *rig) request(t testing.TB, q Request) *resolverv1.ResolveRouteResponse {
	t.Helper()
	out, err := r.Resolve(t.Context(), q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	if (out.GetFailure() == nil) == (len(out.GetHosts()) == 0) {
		t.Fatalf("%+v: failure %v with %d hosts", q, out.GetFailure(), len(out.GetHosts()))
	}
	return out
}

// shown is a route on one line: "10 mx1 192.0.2.1 192.0.2.2; 20 mx2 (dns_temp)".
func shown(r *resolverv1.ResolveRouteResponse) string {
	var all []string
	for _, h := range r.GetHosts() {
		one := fmt.Sprintf("%d %s", h.GetPreference(), h.GetName())
		if h.GetPort() != 0 {
			one += fmt.Sprintf(":%d", h.GetPort())
		}
		for _, a := range h.GetAddresses() {
			one += " " + a
		}
		if f := h.GetFailure(); f != nil {
			one += " (" + f.GetReason() + ")"
		}
		all = append(all, one)
	}
	if f := r.GetFailure(); f != nil {
		all = append(all, f.GetReason()+" "+smtpreply.EnhancedFromProto(f.GetStatus()).String())
	}
	return strings.Join(all, "; ")
}

func wantRoute(t testing.TB, r *resolverv1.ResolveRouteResponse, want string) {
	t.Helper()
	if got := shown(r); got != want {
		t.Errorf("route to %s: %q, want %q (warnings %q)", r.GetDomain(), got, want, r.GetWarnings())
	}
	if f := r.GetFailure(); f != nil && (f.GetDetail() == "" || !strings.HasSuffix(f.GetDetail(), ".")) {
		t.Errorf("route to %s: detail %q is no sentence", r.GetDomain(), f.GetDetail())
	}
}

// first keeps every shuffled run in its order, so that a test can name the whole route.
func first(n int) int { return n - 1 }
