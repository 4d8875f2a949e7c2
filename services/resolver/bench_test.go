// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/rpc"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/testkit/dnstest"
)

// threeMX is a domain with three hosts, two of them of equal preference.
func threeMX(domain string) string {
	var b strings.Builder
	for i, preference := range []int{10, 20, 20} {
		fmt.Fprintf(&b, "%s MX %d mx%d.%s\nmx%d.%s A 192.0.2.%d\nmx%d.%s AAAA 2001:db8::%d\n",
			domain, preference, i, domain, i, domain, i+1, i, domain, i+1)
	}
	return b.String()
}

func BenchmarkCachedRoute(b *testing.B) {
	srv := dnstest.Start(b, threeMX("example.test"))
	s := startQuiet(b, settings(srv))
	in := &resolverv1.ResolveRouteRequest{Domain: "example.test"}
	resolve(b, s, in)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.ResolveRoute(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkColdRoute(b *testing.B) {
	srv := dnstest.Start(b, threeMX("example.test"))
	s := startQuiet(b, settings(srv))
	in := &resolverv1.ResolveRouteRequest{Domain: "example.test", BypassCache: true}
	b.ReportAllocs()
	for b.Loop() {
		if out, err := s.ResolveRoute(b.Context(), in); err != nil || len(out.GetHosts()) != 3 {
			b.Fatal(out, err)
		}
	}
}

// The hot path must stay cheap: the sender asks for every attempt.
func TestCachedRouteAllocations(t *testing.T) {
	srv := dnstest.Start(t, threeMX("example.test"))
	s := startQuiet(t, settings(srv))
	in := &resolverv1.ResolveRouteRequest{Domain: "example.test"}
	resolve(t, s, in)
	got := testing.AllocsPerRun(1000, func() {
		if _, err := s.ResolveRoute(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	})
	if got > 5 {
		t.Errorf("%.1f allocations for a cached route, want at most 5", got)
	}
}

// Ten thousand lookups of a thousand names at once ask each question once.
func TestR27_ConcurrentLookupsAskOnce(t *testing.T) {
	const names, callers = 1000, 10_000
	var zone strings.Builder
	for i := range names {
		fmt.Fprintf(&zone, "d%d.test MX 10 mx%d.test\nmx%d.test A 192.0.2.1\n", i, i%50, i%50)
	}
	srv := dnstest.Start(t, zone.String())
	c := settings(srv)
	// Patient, so that a busy machine repeats no query.
	c.Timeouts.UDPFirst, c.Timeouts.UDPSecond, c.Timeouts.Lookup = c.Timeouts.Lookup, c.Timeouts.Lookup, 4*c.Timeouts.Lookup
	s := startQuiet(t, c)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			out, err := s.ResolveRoute(t.Context(), &resolverv1.ResolveRouteRequest{Domain: fmt.Sprintf("d%d.test", i%names)})
			if err != nil || len(out.GetHosts()) != 1 {
				t.Errorf("%v, %v", out, err)
			}
		})
	}
	wg.Wait()
	asked := map[string]int{}
	for _, q := range srv.Queries(dnstest.Match{}) {
		asked[q.Name+dns.TypeToString[q.Type]]++
	}
	for q, n := range asked {
		if n != 1 {
			t.Errorf("%s asked %d times", q, n)
		}
	}
	const want = 2*names + 2*50 // MX and the MTA-STS record of each domain, A and AAAA of each host
	if len(asked) != want {
		t.Errorf("%d questions, want %d", len(asked), want)
	}
}

// BenchmarkCacheMemory reports what a cached domain with one MX host of its own holds: answers and finished route.
func BenchmarkCacheMemory(b *testing.B) {
	const domains = 100_000
	srv := dnstest.Start(b, "*.test MX 10 mail.example.net\n")
	// Each MX target is a name of its own.
	srv.SetBehaviour(dnstest.Match{Type: dns.TypeMX}, func(x *dnstest.Exchange) {
		x.Reply.Answer = []dns.RR{&dns.MX{
			Hdr: dns.RR_Header{Name: x.Query.Name, Rrtype: dns.TypeMX, Class: dns.ClassINET, Ttl: 3600}, Preference: 10, Mx: "mx." + x.Query.Name,
		}}
	})
	srv.SetBehaviour(dnstest.Match{Type: dns.TypeA}, func(x *dnstest.Exchange) {
		x.Reply.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: x.Query.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 3600}, A: []byte{192, 0, 2, 1},
		}}
	})
	for b.Loop() {
		c := settings(srv)
		c.Cache.Entries = 4 * domains
		s := startQuiet(b, c)
		before := heap()
		var wg sync.WaitGroup
		for w := range 20 {
			wg.Go(func() {
				for i := w; i < domains; i += 20 {
					out, err := s.ResolveRoute(b.Context(), &resolverv1.ResolveRouteRequest{Domain: fmt.Sprintf("domain-%d.test", i)})
					if err != nil || len(out.GetHosts()) != 1 {
						b.Errorf("%v, %v", out, err)
						return
					}
				}
			})
		}
		wg.Wait()
		srv.ForgetQueries()
		b.ReportMetric(float64(heap()-before)/(1<<20), "MiB/100k-domains")
		b.ReportMetric(float64(s.cache.Len())/domains, "answers/domain")
		runtime.KeepAlive(s)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// idle answers a call without doing anything.
type idle struct {
	resolverv1.UnimplementedResolverServiceServer
}

func (idle) FlushCache(context.Context, *resolverv1.FlushCacheRequest) (*resolverv1.FlushCacheResponse, error) {
	return &resolverv1.FlushCacheResponse{}, nil
}

// overGRPC serves over a socket until the end of the benchmark.
func overGRPC(b *testing.B, register func(grpc.ServiceRegistrar)) resolverv1.ResolverServiceClient {
	server := rpc.NewServer(rpc.ServerOptions{DefaultRight: rpc.RightAny})
	register(server)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, l) }()
	conn, err := rpc.Dial(l.Addr().String(), rpc.ClientOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = conn.Close()
		stop()
		<-ended
	})
	return resolverv1.NewResolverServiceClient(conn)
}

// The price of a cached route over gRPC, beside that of a call that does nothing. The two take turns, so that a busy
// machine slows both down.
func BenchmarkOverGRPC(b *testing.B) {
	srv := dnstest.Start(b, threeMX("example.test"))
	s := startQuiet(b, settings(srv))
	resolve(b, s, &resolverv1.ResolveRouteRequest{Domain: "example.test"})
	nothing := overGRPC(b, func(r grpc.ServiceRegistrar) { resolverv1.RegisterResolverServiceServer(r, idle{}) })
	resolver := overGRPC(b, s.Register)
	var empty, route time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := nothing.FlushCache(b.Context(), &resolverv1.FlushCacheRequest{}); err != nil {
			b.Fatal(err)
		}
		between := time.Now()
		if _, err := resolver.ResolveRoute(b.Context(), &resolverv1.ResolveRouteRequest{Domain: "example.test"}); err != nil {
			b.Fatal(err)
		}
		empty, route = empty+between.Sub(began), route+time.Since(between)
	}
	b.ReportMetric(float64(empty.Nanoseconds())/float64(b.N), "ns/empty-call")
	b.ReportMetric(float64(route.Nanoseconds())/float64(b.N), "ns/route")
	b.ReportMetric(float64(route)/float64(empty), "route/empty")
}
