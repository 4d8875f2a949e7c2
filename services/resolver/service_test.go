// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	"github.com/postrider/postrider/kit/smtpreply"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
	"github.com/postrider/postrider/testkit/dnstest"
)

func status(r *resolverv1.ResolveRouteResponse) string {
	return r.GetFailure().GetReason() + " " + smtpreply.EnhancedFromProto(r.GetFailure().GetStatus()).String()
}

func TestResolveRouteAnswers(t *testing.T) {
	srv := dnstest.Start(t, zone)
	s := startQuiet(t, settings(srv))
	out := resolve(t, s, &resolverv1.ResolveRouteRequest{Domain: "Example.Test"})
	if len(out.GetHosts()) != 2 || out.GetHosts()[0].GetName() != "mx1.test" || out.GetDomain() != "example.test" || out.GetSite() != "mx1.test,mx2.test" {
		t.Errorf("%v", out)
	}
	if kind := out.GetHosts()[0].GetTls().GetKind(); kind != resolverv1.TlsPolicyKind_TLS_POLICY_KIND_OPPORTUNISTIC {
		t.Errorf("policy %s without any record of one", kind)
	}
	for domain, want := range map[string]string{
		"nowhere.test": "no_such_domain 5.1.2", "a..b": "bad_domain 5.1.2", "[x]": "bad_literal 5.1.3", "local.test": "special_address 5.4.4",
	} {
		if out := resolve(t, s, &resolverv1.ResolveRouteRequest{Domain: domain}); status(out) != want || len(out.GetHosts()) != 0 {
			t.Errorf("%s: %s, want %s", domain, status(out), want)
		}
	}
	// A slip in our own configuration must not bounce mail.
	out = resolve(t, s, &resolverv1.ResolveRouteRequest{Domain: "example.test", Smarthost: "[broken"})
	if status(out) != "bad_domain 4.3.5" {
		t.Errorf("bad smarthost: %s", status(out))
	}
}

func TestResolveRouteWithoutDomain(t *testing.T) {
	s := startQuiet(t, settings(dnstest.Start(t, zone)))
	_, err := s.ResolveRoute(t.Context(), &resolverv1.ResolveRouteRequest{})
	if fault, ok := errors.AsType[*rpc.Error](err); !ok || fault.Code != codes.InvalidArgument {
		t.Errorf("%v, want INVALID_ARGUMENT", err)
	}
}

func TestAllowedSpecialAddressesAndOwnListeners(t *testing.T) {
	srv := dnstest.Start(t, zone)
	c := settings(srv)
	c.AllowSpecialAddresses = loopbackNet()
	if out := resolve(t, startQuiet(t, c), &resolverv1.ResolveRouteRequest{Domain: "local.test"}); len(out.GetHosts()) != 1 {
		t.Errorf("R-16: %v", out)
	}
	c.OwnListeners, c.SMTPPort = []string{"127.0.0.1:2525"}, 2525
	if out := resolve(t, startQuiet(t, c), &resolverv1.ResolveRouteRequest{Domain: "local.test"}); status(out) != "mx_self 5.4.6" {
		t.Errorf("R-17: %v", out)
	}
	c.SMTPPort = 0
	if out := resolve(t, startQuiet(t, c), &resolverv1.ResolveRouteRequest{Domain: "local.test"}); len(out.GetHosts()) != 1 {
		t.Errorf("R-17: another port than that of the listener: %v", out)
	}
	env := environment(&lines{}, nil)
	env.Node.OwnHosts, env.Node.OwnAddresses = []string{"mx2.TEST"}, []string{"192.0.2.1"}
	if out := resolve(t, start(t, settings(srv), env), &resolverv1.ResolveRouteRequest{Domain: "example.test"}); status(out) != "mx_self 5.4.6" {
		t.Errorf("R-17: %v", out)
	}
}

func TestFlushCache(t *testing.T) {
	srv := dnstest.Start(t, zone)
	s := startQuiet(t, settings(srv))
	ask := func() { resolve(t, s, &resolverv1.ResolveRouteRequest{Domain: "example.test"}) }
	ask()
	ask()
	if n := srv.Count("example.test", dns.TypeMX); n != 1 {
		t.Fatalf("asked %d times", n)
	}
	out, err := s.FlushCache(t.Context(), &resolverv1.FlushCacheRequest{Name: "MX1.test."})
	if err != nil || out.GetFlushed() != 2 {
		t.Errorf("flushed %v, %v, want A and AAAA of the host", out, err)
	}
	if ask(); srv.Count("mx1.test", dns.TypeA) != 2 || srv.Count("example.test", dns.TypeMX) != 1 {
		t.Error("want the host asked again and the domain not")
	}
	if out, err = s.FlushCache(t.Context(), &resolverv1.FlushCacheRequest{}); err != nil || out.GetFlushed() != 6 {
		t.Errorf("flushed %v, %v, want everything", out, err)
	}
	if ask(); srv.Count("example.test", dns.TypeMX) != 2 {
		t.Error("want the domain asked again")
	}
	// Remembered failures go as well.
	srv.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeServerFailure))
	resolve(t, s, &resolverv1.ResolveRouteRequest{Domain: "other.test"})
	srv.ClearBehaviour()
	if out := resolve(t, s, &resolverv1.ResolveRouteRequest{Domain: "other.test"}); status(out) != "dns_temp 4.4.3" {
		t.Errorf("%s", status(out))
	}
	if _, err := s.FlushCache(t.Context(), &resolverv1.FlushCacheRequest{Name: "other.test"}); err != nil {
		t.Fatal(err)
	}
	if out := resolve(t, s, &resolverv1.ResolveRouteRequest{Domain: "other.test"}); status(out) != "no_such_domain 5.1.2" {
		t.Errorf("%s", status(out))
	}
}

func TestFailingServersAreWarnedOf(t *testing.T) {
	srv := dnstest.Start(t, zone)
	if err := srv.Refuse(dnstest.TCP); err != nil {
		t.Fatal(err)
	}
	c := settings(srv)
	c.Transport = "tcp"
	log := &lines{}
	s := start(t, c, environment(log, nil))
	for range serverhealth.After {
		resolve(t, s, &resolverv1.ResolveRouteRequest{Domain: "example.test", BypassCache: true})
	}
	out := resolve(t, s, &resolverv1.ResolveRouteRequest{Domain: "example.test"})
	if w := strings.Join(out.GetWarnings(), "\n"); len(out.GetWarnings()) != 1 || !strings.Contains(w, srv.Addr().String()+" does not answer over TCP since ") {
		t.Errorf("warnings %q", w)
	}
	if got := log.with("DNS server fails"); len(got) != 1 || !strings.Contains(got[0], "transport=tcp result=refused") {
		t.Errorf("log %q, want one line", got)
	}
}

func TestQueriesAreSpans(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{Transport: dnstest.UDP, Type: dns.TypeMX}, dnstest.Truncate)
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	s := start(t, settings(srv), environment(&lines{}, provider))
	ctx, parent := provider.Tracer("test").Start(t.Context(), "resolver.resolve_route")
	out, err := s.ResolveRoute(ctx, &resolverv1.ResolveRouteRequest{Domain: "example.test"})
	if err != nil || len(out.GetHosts()) != 2 {
		t.Fatalf("%v, %v", out, err)
	}
	parent.End()
	var mx []map[string]string
	for _, span := range exporter.GetSpans() {
		if span.Name != "dns.query" {
			continue
		}
		if span.Parent.SpanID() != parent.SpanContext().SpanID() {
			t.Errorf("%v is not a child of the caller's span", span.Attributes)
		}
		attrs := map[string]string{}
		for _, a := range span.Attributes {
			attrs[string(a.Key)] = a.Value.String()
		}
		if attrs["dns.question.type"] == "MX" {
			mx = append(mx, attrs)
		}
	}
	if len(mx) != 2 {
		t.Fatalf("%d spans for the MX question, want UDP and TCP: %v", len(mx), mx)
	}
	host, port, _ := net.SplitHostPort(srv.Addr().String())
	for i, want := range []map[string]string{
		{"network.transport": "udp", "dns.result": "truncated", "error.type": "truncated", "dns.rcode": "NOERROR", "dns.why": "first server"},
		{"network.transport": "tcp", "dns.result": "answered", "error.type": "", "dns.rcode": "NOERROR", "dns.why": "answer over udp is truncated"},
	} {
		want["server.address"], want["server.port"], want["dns.question.name"] = host, port, "example.test"
		for k, v := range want {
			if mx[i][k] != v {
				t.Errorf("query %d: %s is %q, want %q", i, k, mx[i][k], v)
			}
		}
	}
	exporter.Reset()
	if _, err := s.ResolveRoute(ctx, &resolverv1.ResolveRouteRequest{Domain: "example.test"}); err != nil {
		t.Fatal(err)
	}
	if spans := exporter.GetSpans(); len(spans) != 0 {
		t.Errorf("%d spans for a cached route", len(spans))
	}
}

// The process of its own: gRPC over a socket, health, rights, drain.
func TestProcess(t *testing.T) {
	srv := dnstest.Start(t, zone)
	cfg := settings(srv)
	shared := runner.DefaultShared()
	shared.Node.HTTPListen = "off"
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan runner.Addresses, 1), make(chan error, 1)
	go func() {
		ended <- runner.Run(ctx, runner.Process{
			Name: "resolver", Shared: shared, Units: []runner.Unit{runner.NewUnit("resolver", &cfg, New)},
			OnReady: func(a runner.Addresses) { ready <- a },
		})
	}()
	var at runner.Addresses
	select {
	case at = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	conn, err := rpc.Dial(at.GRPC.String(), rpc.ClientOptions{DefaultTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := resolverv1.NewResolverServiceClient(conn)
	out, err := client.ResolveRoute(t.Context(), &resolverv1.ResolveRouteRequest{Domain: "example.test"})
	if err != nil || len(out.GetHosts()) != 2 {
		t.Errorf("%v, %v", out, err)
	}
	if _, err := client.ResolveRoute(t.Context(), &resolverv1.ResolveRouteRequest{}); rpc.FromError(err).CodeWord() != "INVALID_ARGUMENT" {
		t.Errorf("%v", err)
	}
	table, err := client.CheckServers(t.Context(), &resolverv1.CheckServersRequest{})
	if err != nil || len(table.GetServers()) != 1 {
		t.Errorf("%v, %v", table, err)
	}
	if err := runner.CheckHealth(t.Context(), at.GRPC.String(), shared.Node.TLS); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRights(t *testing.T) {
	s := startQuiet(t, settings(dnstest.Start(t, zone)))
	var _ runner.Rights = s
	if got := s.Rights()[resolverv1.ResolverService_ResolveRoute_FullMethodName]; got != rpc.RightAny {
		t.Errorf("ResolveRoute needs %q", got)
	}
	if len(s.Rights()) != 1 {
		t.Error("CheckServers and FlushCache must need operator")
	}
}

// The answers of one cached route do not share what a caller may change.
func TestAnswersAreIndependent(t *testing.T) {
	s := startQuiet(t, settings(dnstest.Start(t, zone)))
	in := &resolverv1.ResolveRouteRequest{Domain: "example.test"}
	one := resolve(t, s, in)
	want := proto.Clone(one).(*resolverv1.ResolveRouteResponse)
	one.Hosts[0].Name, one.Hosts[1].Preference, one.Domain = "changed", 99, "changed"
	one.Hosts[0].Addresses = append(one.Hosts[0].Addresses, "changed")
	one.Hosts = one.Hosts[:1]
	two := resolve(t, s, in)
	want.CacheAge, two.CacheAge, want.CacheLeft, two.CacheLeft = nil, nil, nil, nil
	if !proto.Equal(two, want) {
		t.Errorf("%v, want %v", two, want)
	}
}
