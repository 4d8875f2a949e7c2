// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/kit/smtpreply"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/mtasts"
	"github.com/postrider/postrider/services/resolver/internal/tlspolicy"
	"github.com/postrider/postrider/testkit/dnstest"
)

// policyHosts stands for the web servers of the domains.
type policyHosts struct {
	mu      sync.Mutex
	files   map[string]string
	fetched int
}

func (p *policyHosts) fetch(_ context.Context, domain string) (mtasts.Policy, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetched++
	file, ok := p.files[domain]
	if !ok {
		return mtasts.Policy{}, &mtasts.FetchError{Problem: "the policy host answered with status 404"}
	}
	return mtasts.Parse(file)
}

func (p *policyHosts) set(domain, file string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[domain] = file
}

func file(mode string, mx ...string) string {
	text := "version: STSv1\nmode: " + mode + "\nmax_age: 604800\n"
	for _, m := range mx {
		text += "mx: " + m + "\n"
	}
	return text
}

// newPolicyRig is a rig with real policies of both kinds.
func newPolicyRig(t *testing.T, hosts *policyHosts, srv *dnstest.Server) *rig {
	t.Helper()
	return newPolicyRigOver(t, dnstransport.UDP, hosts, srv)
}

// newPolicyRigOver is a policy rig that asks over a transport first.
func newPolicyRigOver(t *testing.T, prefer dnstransport.Transport, hosts *policyHosts, srv *dnstest.Server) *rig {
	t.Helper()
	r := newRig(t, rigOptions{intn: first, prefer: prefer}, srv)
	finder := mtasts.New(mtasts.Options{DNS: r.o.DNS, Fetch: hosts.fetch, Memory: mtasts.NewMemory(100), Now: r.clock.Now})
	t.Cleanup(finder.Close)
	r.o.TLS = tlspolicy.NewPublished(r.o.DNS, finder)
	return r
}

// policies are the TLS policies of a route on one line.
func policies(r *resolverv1.ResolveRouteResponse) string {
	var all []string
	for _, h := range r.GetHosts() {
		kind := strings.ToLower(strings.TrimPrefix(h.GetTls().GetKind().String(), "TLS_POLICY_KIND_"))
		if f := h.GetFailure(); f != nil {
			kind += " (" + f.GetReason() + " " + smtpreply.EnhancedFromProto(f.GetStatus()).String() + ")"
		}
		all = append(all, h.GetName()+" "+kind)
	}
	if f := r.GetFailure(); f != nil {
		all = append(all, f.GetReason()+" "+smtpreply.EnhancedFromProto(f.GetStatus()).String())
	}
	return strings.Join(all, ", ")
}

func wantPolicies(t *testing.T, r *resolverv1.ResolveRouteResponse, want string) {
	t.Helper()
	if got := policies(r); got != want {
		t.Errorf("%s: %s, want %s (warnings %q)", r.GetDomain(), got, want, r.GetWarnings())
	}
	for _, h := range r.GetHosts() {
		if (h.GetFailure() == nil) == (len(h.GetAddresses()) == 0) {
			t.Errorf("%s: failure %v with addresses %v", h.GetName(), h.GetFailure(), h.GetAddresses())
		}
	}
}

var tlsa = "3 1 1 " + strings.Repeat("ab", 32)

func TestR41_TLSAOnlyWhereEverythingIsSecure(t *testing.T) {
	srv := dnstest.Start(t, fmt.Sprintf(`
		example.test      MX 10 a.test
		example.test      MX 20 b.test
		a.test            A  192.0.2.1
		b.test            A  192.0.2.2
		_25._tcp.a.test   TLSA %[1]s
		_25._tcp.b.test   TLSA %[1]s
	`, tlsa))
	hosts := &policyHosts{}
	insecure := func(m dnstest.Match, want string, asked int) {
		t.Helper()
		srv.ClearBehaviour()
		srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
		srv.SetBehaviour(m, func(*dnstest.Exchange) {})
		srv.ForgetQueries()
		wantPolicies(t, newPolicyRig(t, hosts, srv).resolve(t, "example.test"), want)
		if n := len(srv.Queries(dnstest.Match{Type: dns.TypeTLSA})); n != asked {
			t.Errorf("%d questions for TLSA, want %d", n, asked)
		}
	}
	insecure(dnstest.Match{Name: "unused.test"}, "a.test dane, b.test dane", 2)
	insecure(dnstest.Match{Type: dns.TypeMX}, "a.test opportunistic, b.test opportunistic", 0)
	insecure(dnstest.Match{Name: "a.test", Type: dns.TypeA}, "a.test opportunistic, b.test dane", 1)
	insecure(dnstest.Match{Name: "b.test", Type: dns.TypeAAAA}, "a.test dane, b.test opportunistic", 1)
	insecure(dnstest.Match{Name: "_25._tcp.a.test"}, "a.test opportunistic, b.test dane", 2)
}

func TestR41_AliasesAndNames(t *testing.T) {
	srv := dnstest.Start(t, fmt.Sprintf(`
		www.test           CNAME example.test
		example.test       MX 10 mx.test
		mx.test            CNAME host.test
		host.test          A  192.0.2.1
		_25._tcp.host.test TLSA %s
	`, tlsa))
	srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
	out := newPolicyRig(t, &policyHosts{}, srv).resolve(t, "www.test")
	wantPolicies(t, out, "mx.test dane")
	p := out.GetHosts()[0].GetTls()
	if p.GetSni() != "host.test" || strings.Join(p.GetReferenceNames(), " ") != "host.test www.test example.test" {
		t.Errorf("%v", p)
	}
}

func TestR42_TLSALookupFails(t *testing.T) {
	srv := dnstest.Start(t, fmt.Sprintf(`
		example.test      MX 10 a.test
		example.test      MX 20 b.test
		a.test            A  192.0.2.1
		b.test            A  192.0.2.2
		_25._tcp.b.test   TLSA %s
	`, tlsa))
	srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
	srv.SetBehaviour(dnstest.Match{Name: "_25._tcp.a.test"}, dnstest.RCode(dns.RcodeServerFailure))
	r := newPolicyRig(t, &policyHosts{}, srv)
	wantPolicies(t, r.resolve(t, "example.test"), "a.test dane (tlsa_lookup 4.7.5), b.test dane")
	srv.SetBehaviour(dnstest.Match{Name: "_25._tcp.b.test"}, dnstest.RCode(dns.RcodeServerFailure))
	r = newPolicyRig(t, &policyHosts{}, srv)
	wantPolicies(t, r.resolve(t, "example.test"), "tlsa_lookup 4.7.5")
	srv.ClearBehaviour()
	srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
	wantPolicies(t, r.resolve(t, "example.test"), "a.test opportunistic, b.test dane") // the failure was not cached
}

func TestR44_NoTLSARecordIsUsable(t *testing.T) {
	srv := dnstest.Start(t, "example.test MX 10 a.test\na.test A 192.0.2.1\n_25._tcp.a.test TLSA 1 1 1 "+strings.Repeat("ab", 32)+"\n")
	srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
	wantPolicies(t, newPolicyRig(t, &policyHosts{}, srv).resolve(t, "example.test"), "a.test require")
}

func TestR40_BogusAnswersDefer(t *testing.T) {
	srv := dnstest.Start(t, "example.test MX 10 a.test\na.test A 192.0.2.1\n_25._tcp.a.test TLSA "+tlsa+"\n")
	for _, c := range []struct {
		match dnstest.Match
		want  string
	}{
		{dnstest.Match{Type: dns.TypeMX}, "dns_bogus 4.4.3"},
		{dnstest.Match{Name: "a.test"}, "dns_bogus 4.4.3"},
		{dnstest.Match{Type: dns.TypeTLSA}, "tlsa_lookup 4.7.5"},
	} {
		srv.ClearBehaviour()
		srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
		srv.SetBehaviour(c.match, dnstest.AuthenticData, dnstest.Bogus)
		wantPolicies(t, newPolicyRig(t, &policyHosts{}, srv).resolve(t, "example.test"), c.want)
	}
}

const stsZone = `
	example.test           MX 10 a.test
	example.test           MX 20 b.test
	example.test           MX 30 c.test
	a.test                 A  192.0.2.1
	b.test                 A  192.0.2.2
	c.test                 A  192.0.2.3
	_mta-sts.example.test  60 TXT "v=STSv1\; id=1\;"
	alias.test             CNAME example.test
	relay.test             MX 10 a.test
	_mta-sts.relay.test    TXT "v=STSv1\; id=9\;"
`

func TestR48_HostsThatAreNotNamedAreSkipped(t *testing.T) {
	srv := dnstest.Start(t, stsZone)
	hosts := &policyHosts{files: map[string]string{"example.test": file("enforce", "a.test", "c.test")}}
	r := newPolicyRig(t, hosts, srv)
	out := r.resolve(t, "example.test")
	wantPolicies(t, out, "a.test mta_sts, b.test mta_sts (mta_sts_mismatch 4.7.5), c.test mta_sts")
	if origin := out.GetHosts()[0].GetTls().GetOrigin(); origin != "mta-sts policy id 1" {
		t.Errorf("origin %q", origin)
	}
	if hosts.fetched != 1 {
		t.Errorf("%d fetches", hosts.fetched)
	}
}

func TestR48_AllSkipped(t *testing.T) {
	srv := dnstest.Start(t, stsZone)
	hosts := &policyHosts{files: map[string]string{"example.test": file("enforce", "elsewhere.test")}}
	r := newPolicyRig(t, hosts, srv)
	wantPolicies(t, r.resolve(t, "example.test"), "mta_sts_mismatch 4.7.5")
	// The policy is corrected without a new id: it is fetched anew before the mismatch is believed again.
	hosts.set("example.test", file("enforce", "*.test"))
	r.clock.pass(5 * time.Minute)
	wantPolicies(t, r.resolve(t, "example.test"), "a.test mta_sts, b.test mta_sts, c.test mta_sts")
}

func TestR47_PolicyCannotBeFetched(t *testing.T) {
	srv := dnstest.Start(t, stsZone)
	out := newPolicyRig(t, &policyHosts{}, srv).resolve(t, "example.test")
	wantPolicies(t, out, "a.test opportunistic, b.test opportunistic, c.test opportunistic")
	if finding := out.GetHosts()[0].GetTls().GetFinding(); !strings.Contains(finding, "404") || len(out.GetWarnings()) != 1 {
		t.Errorf("finding %q, warnings %q", finding, out.GetWarnings())
	}
}

func TestR49_TestingAndNone(t *testing.T) {
	srv := dnstest.Start(t, stsZone)
	hosts := &policyHosts{files: map[string]string{"example.test": file("testing", "a.test", "c.test")}}
	out := newPolicyRig(t, hosts, srv).resolve(t, "example.test")
	wantPolicies(t, out, "a.test opportunistic, b.test opportunistic, c.test opportunistic")
	if a, b := out.GetHosts()[0].GetTls(), out.GetHosts()[1].GetTls(); a.GetFinding() != "" || !strings.Contains(b.GetFinding(), "b.test") || a.GetOrigin() == "" {
		t.Errorf("%v and %v, want the finding with the host that is not named", a, b)
	}
	hosts.set("example.test", file("none"))
	out = newPolicyRig(t, hosts, srv).resolve(t, "example.test")
	wantPolicies(t, out, "a.test opportunistic, b.test opportunistic, c.test opportunistic")
	if tls := out.GetHosts()[1].GetTls(); tls.GetFinding() != "" || tls.GetOrigin() != "" {
		t.Errorf("%v, want nothing of mode none", tls)
	}
}

// The policy is that of the recipient domain as written, never that of an alias's target; with a smarthost it is the
// smarthost's, and a literal or a host in brackets has none.
func TestR46_PolicyDomain(t *testing.T) {
	srv := dnstest.Start(t, stsZone)
	hosts := &policyHosts{files: map[string]string{
		"example.test": file("enforce", "a.test", "b.test", "c.test"), "relay.test": file("enforce", "a.test"),
	}}
	r := newPolicyRig(t, hosts, srv)
	wantPolicies(t, r.resolve(t, "alias.test"), "a.test opportunistic, b.test opportunistic, c.test opportunistic")
	wantPolicies(t, r.request(t, Request{Domain: "example.test", Smarthost: "relay.test"}), "a.test mta_sts")
	wantPolicies(t, r.request(t, Request{Domain: "example.test", Smarthost: "[a.test]"}), "a.test opportunistic")
	wantPolicies(t, r.resolve(t, "[192.0.2.1]"), " opportunistic")
}

func TestDANEComesBeforeMTASTS(t *testing.T) {
	srv := dnstest.Start(t, stsZone+"_25._tcp.a.test TLSA "+tlsa+"\n_25._tcp.c.test TLSA 0 0 0 ab\n")
	srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
	hosts := &policyHosts{files: map[string]string{"example.test": file("enforce", "b.test", "c.test")}}
	// a has DANE and is not named by the policy; c has records nobody can use, so the stronger policy counts.
	wantPolicies(t, newPolicyRig(t, hosts, srv).resolve(t, "example.test"), "a.test dane, b.test mta_sts, c.test mta_sts")
	hosts.set("example.test", file("testing", "b.test"))
	wantPolicies(t, newPolicyRig(t, hosts, srv).resolve(t, "example.test"), "a.test dane, b.test opportunistic, c.test require")
}

// A message that waives TLS gets the hosts that policies forbid, with the finding (RFC 8689, section 4.2.2).
func TestHostsForAMessageThatWaivesTLS(t *testing.T) {
	srv := dnstest.Start(t, stsZone)
	hosts := &policyHosts{files: map[string]string{"example.test": file("enforce", "elsewhere.test")}}
	r := newPolicyRig(t, hosts, srv)
	for range 2 {
		wantPolicies(t, r.resolve(t, "example.test"), "mta_sts_mismatch 4.7.5")
		out := r.request(t, Request{Domain: "example.test", AnyTLS: true})
		wantPolicies(t, out, "a.test opportunistic, b.test opportunistic, c.test opportunistic")
		for _, h := range out.GetHosts() {
			if !strings.Contains(h.GetTls().GetFinding(), h.GetName()) {
				t.Errorf("%v, want what would have held it back", h.GetTls())
			}
		}
	}
	hosts.set("example.test", file("enforce", "a.test"))
	r = newPolicyRig(t, hosts, srv)
	srv.SetBehaviour(dnstest.Match{Name: "c.test"}, dnstest.RCode(dns.RcodeServerFailure))
	out := r.request(t, Request{Domain: "example.test", AnyTLS: true})
	wantPolicies(t, out, "a.test mta_sts, b.test opportunistic, c.test unspecified (dns_temp 4.4.3)")
}
