// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
)

// routed is a resolver that answers ResolveRoute with what a test wrote down.
type routed struct {
	resolverv1.UnimplementedResolverServiceServer
	answer *resolverv1.ResolveRouteResponse
	asked  chan *resolverv1.ResolveRouteRequest
}

func (r *routed) ResolveRoute(_ context.Context, in *resolverv1.ResolveRouteRequest) (*resolverv1.ResolveRouteResponse, error) {
	r.asked <- in
	return r.answer, nil
}

func route(t *testing.T, exit int, answer *resolverv1.ResolveRouteResponse, args ...string) (stdout string, asked *resolverv1.ResolveRouteRequest) {
	t.Helper()
	resolver := &routed{answer: answer, asked: make(chan *resolverv1.ResolveRouteRequest, 1)}
	address := listen(t, func(s *grpc.Server) { resolverv1.RegisterResolverServiceServer(s, resolver) })
	var out, errs bytes.Buffer
	if got := Main(append([]string{"route", "--server", address}, args...), Streams{Out: &out, Err: &errs}); got != exit || errs.Len() > 0 {
		t.Fatalf("status %d, want %d\n%s%s", got, exit, &out, &errs)
	}
	return out.String(), <-resolver.asked
}

// fullRoute has a host of each kind.
func fullRoute() *resolverv1.ResolveRouteResponse {
	failure := func(reason, detail string, subject, number uint32) *eventv1.Failure {
		return &eventv1.Failure{Reason: reason, Detail: detail, Status: &eventv1.EnhancedCode{Class: 4, Subject: subject, Detail: number}}
	}
	tls := func(kind resolverv1.TlsPolicyKind, origin, finding string) *resolverv1.TlsPolicy {
		return &resolverv1.TlsPolicy{Kind: kind, Origin: origin, Finding: finding}
	}
	return &resolverv1.ResolveRouteResponse{
		Domain: "example.org", CanonicalDomain: "example.net", Site: "mx1.example.net,mx2.example.net",
		CacheAge: durationpb.New(50 * time.Minute), CacheLeft: durationpb.New(3*time.Minute + 10*time.Second),
		Warnings: []string{"One warning."},
		Hosts: []*resolverv1.Host{
			{
				Name: "mx1.example.net", Preference: 10, Addresses: []string{"2001:db8::1", "192.0.2.1"},
				Tls: tls(resolverv1.TlsPolicyKind_TLS_POLICY_KIND_DANE, "TLSA _25._tcp.mx1.example.net", ""),
			},
			{
				Name: "mx2.example.net", Preference: 20, Addresses: []string{"192.0.2.2"}, Port: 2525,
				Tls: tls(resolverv1.TlsPolicyKind_TLS_POLICY_KIND_OPPORTUNISTIC, "mta-sts policy id 7 (testing)", "The policy does not name it."),
			},
			{
				Name: "mx3.example.net", Preference: 30, Failure: failure("tlsa_lookup", "The TLSA records could not be had.", 7, 5),
				Tls: tls(resolverv1.TlsPolicyKind_TLS_POLICY_KIND_DANE, "TLSA _25._tcp.mx3.example.net", ""),
			},
			{Name: "mx4.example.net", Preference: 40, Failure: failure("dns_temp", "No DNS server gave an answer.", 4, 3)},
			{Name: "mx5.example.net", Preference: 50, Addresses: []string{"192.0.2.5"}, Tls: tls(resolverv1.TlsPolicyKind_TLS_POLICY_KIND_OPPORTUNISTIC, "", "One warning.")},
		},
	}
}

func TestRouteTellsThePeopleWhereEachPolicyComesFrom(t *testing.T) {
	out, asked := route(t, 0, fullRoute(), "example.org")
	if asked.GetDomain() != "example.org" || asked.GetBypassCache() {
		t.Errorf("asked %v", asked)
	}
	const want = `example.org is an alias of example.net  (from the cache: the oldest answer is 50m0s old, DNS is asked again in 3m10s)
PREFERENCE  HOST             TLS                                            ADDRESSES
10          mx1.example.net  dane (TLSA _25._tcp.mx1.example.net)           2001:db8::1 192.0.2.1
20          mx2.example.net  opportunistic (mta-sts policy id 7 (testing))  192.0.2.2 port 2525
30          mx3.example.net  dane (TLSA _25._tcp.mx3.example.net)           not usable now: 4.7.5 tlsa_lookup The TLSA records could not be had.
40          mx4.example.net  unknown                                        not usable now: 4.4.3 dns_temp No DNS server gave an answer.
50          mx5.example.net  opportunistic                                  192.0.2.5
mx2.example.net: The policy does not name it.
warning: One warning.
`
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestRouteAge(t *testing.T) {
	for _, c := range []struct {
		age, left time.Duration
		want      string
	}{
		{0, time.Hour, "example.org\n"},
		{90 * time.Second, time.Hour, "the oldest answer is 1m30s old, DNS is asked again in 1h0m0s)"},
		{time.Millisecond, time.Minute, "the oldest answer is less than a second old, DNS is asked again in 1m0s)"},
		{90 * time.Second, 0, "the oldest answer is 1m30s old, DNS is asked again at the next question)"},
	} {
		out, _ := route(t, 0, &resolverv1.ResolveRouteResponse{
			Domain: "example.org", CacheAge: durationpb.New(c.age), CacheLeft: durationpb.New(c.left),
			Hosts: []*resolverv1.Host{{Name: "mx.example.org", Addresses: []string{"192.0.2.1"}}},
		}, "example.org")
		if first, _, _ := strings.Cut(out, "PREFERENCE"); !strings.HasSuffix(first, c.want) && !strings.Contains(first, c.want) {
			t.Errorf("age %s, left %s: %q, want %q", c.age, c.left, first, c.want)
		}
	}
}

// DNS tools write the root's dot at the end, and people copy it.
func TestRouteTakesATrailingDot(t *testing.T) {
	for given, want := range map[string]string{"example.org.": "example.org", "example.org": "example.org", "[192.0.2.1]": "[192.0.2.1]"} {
		if _, asked := route(t, 0, fullRoute(), "--fresh", given); asked.GetDomain() != want || !asked.GetBypassCache() {
			t.Errorf("%s: asked %v, want %s", given, asked, want)
		}
	}
}

func TestRouteWithoutHosts(t *testing.T) {
	failed := &resolverv1.ResolveRouteResponse{Domain: "example.org", Failure: &eventv1.Failure{
		Reason: "null_mx", Detail: "The domain example.org says that it takes no mail (null MX).",
		Status: &eventv1.EnhancedCode{Class: 5, Subject: 1, Detail: 10},
	}}
	out, _ := route(t, 1, failed, "example.org")
	if out != "example.org\nno route: 5.1.10 null_mx The domain example.org says that it takes no mail (null MX).\n" {
		t.Errorf("%q", out)
	}
	out, _ = route(t, 1, failed, "--json", "example.org")
	var got routeJSON
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Failure == nil || got.Failure.Status != "5.1.10" || got.Hosts == nil {
		t.Errorf("%s (%v)", out, err)
	}
}

func TestRouteJSON(t *testing.T) {
	out, _ := route(t, 0, fullRoute(), "--json", "example.org")
	var got routeJSON
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.CacheAgeMS != 3_000_000 || got.CacheLeftMS != 190_000 || len(got.Hosts) != 5 {
		t.Errorf("%+v", got)
	}
	for i, want := range []routeHostJSON{
		{TLS: "dane", TLSOrigin: "TLSA _25._tcp.mx1.example.net"},
		{TLS: "opportunistic", TLSOrigin: "mta-sts policy id 7 (testing)", TLSFinding: "The policy does not name it."},
		{TLS: "dane", TLSOrigin: "TLSA _25._tcp.mx3.example.net"},
		{TLS: "unknown"},
		{TLS: "opportunistic", TLSFinding: "One warning."},
	} {
		if h := got.Hosts[i]; h.TLS != want.TLS || h.TLSOrigin != want.TLSOrigin || h.TLSFinding != want.TLSFinding {
			t.Errorf("%+v, want %+v", h, want)
		}
	}
}

// In four processes the default server is the gateway, which has no resolver.
func TestRouteAtAServerThatIsNotTheResolver(t *testing.T) {
	address := listen(t, func(*grpc.Server) {})
	var out, errs bytes.Buffer
	if got := Main([]string{"route", "--server", address, "example.org"}, Streams{Out: &out, Err: &errs}); got != 1 || !strings.Contains(errs.String(), "resolver.listen") {
		t.Errorf("status %d, %q %q", got, &out, &errs)
	}
}
