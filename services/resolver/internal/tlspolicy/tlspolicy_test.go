// SPDX-License-Identifier: Apache-2.0

package tlspolicy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/kit/smtpreply"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/resolver/internal/dnscache"
	"github.com/postrider/postrider/services/resolver/internal/dnsexchange"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/mtasts"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
	"github.com/postrider/postrider/testkit/dnstest"
)

// world is a Published over a real DNS server; the policy host is a function of the test.
type world struct {
	*Published
	dns *dnstest.Server

	mu      sync.Mutex
	now     time.Time
	file    string // "" for a host that has none
	fetched int
}

func newWorld(t *testing.T, zone string) *world {
	t.Helper()
	w := &world{dns: dnstest.Start(t, zone), now: time.Unix(1_700_000_000, 0)}
	servers := []netip.AddrPort{w.dns.Addr()}
	x := dnsexchange.New(dnsexchange.Options{
		Servers: servers, Prefer: dnstransport.UDP, Timeouts: dnsexchange.DefaultTimeouts(), Now: w.clock,
		Health: serverhealth.New(servers, w.clock, nil), Trusted: func(netip.Addr) bool { return true },
	})
	t.Cleanup(x.Close)
	cache := dnscache.New(dnscache.Options{Entries: 1000, Now: w.clock})
	querier := cache.Over(cache.Keep(x))
	finder := mtasts.New(mtasts.Options{DNS: querier, Fetch: w.fetch, Memory: mtasts.NewMemory(10), Now: w.clock})
	t.Cleanup(finder.Close)
	w.Published = NewPublished(querier, finder)
	w.dns.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) fetch(context.Context, string) (mtasts.Policy, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fetched++
	if w.file == "" {
		return mtasts.Policy{}, &mtasts.FetchError{Problem: "the policy host answered with status 404"}
	}
	return mtasts.Parse(w.file)
}

func (w *world) publish(mode string, mx ...string) {
	text := "version: STSv1\nmode: " + mode + "\nmax_age: 604800\n"
	for _, m := range mx {
		text += "mx: " + m + "\n"
	}
	w.change(func() { w.file = text })
}

// ask gives the policies of hosts whose addresses are secure, on one line.
func (w *world) ask(t *testing.T, domain string, secure bool, hosts ...string) (line string, r Result) {
	t.Helper()
	request := Request{Domain: domain, MXSecure: secure}
	for _, h := range hosts {
		request.Hosts = append(request.Hosts, Host{Name: h, Secure: true, Port: 25})
	}
	r, err := w.Policies(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for i, p := range r.Policies {
		one := hosts[i] + " " + strings.ToLower(strings.TrimPrefix(p.TLS.GetKind().String(), "TLS_POLICY_KIND_"))
		if p.Failure != nil {
			one += " (" + string(p.Failure.Reason) + ")"
		}
		all = append(all, one)
	}
	return strings.Join(all, ", "), r
}

func (w *world) want(t *testing.T, domain string, secure bool, hosts []string, want string) Result {
	t.Helper()
	got, r := w.ask(t, domain, secure, hosts...)
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	return r
}

var (
	good = "3 1 1 " + strings.Repeat("ab", 32)
	bad  = "1 1 1 " + strings.Repeat("ab", 32) // no record SMTP can work with
)

// zone: a has DANE, b none, c records that cannot be used.
var zone = fmt.Sprintf(`
	_mta-sts.example.test 60 TXT "v=STSv1\; id=1\;"
	_25._tcp.a.test TLSA %s
	_25._tcp.c.test TLSA %s
`, good, bad)

var abc = []string{"a.test", "b.test", "c.test"}

func TestR41_DANEBeforeMTASTS(t *testing.T) {
	w := newWorld(t, zone)
	w.publish("enforce", "b.test", "c.test")
	r := w.want(t, "example.test", true, abc, "a.test dane, b.test mta_sts, c.test mta_sts")
	if origin := r.Policies[0].TLS.GetOrigin() + ", " + r.Policies[1].TLS.GetOrigin(); origin != "TLSA _25._tcp.a.test, mta-sts policy id 1" {
		t.Errorf("origins %s", origin)
	}
}

func TestR41_NothingIsAskedWhereTheMXSetIsNotSecure(t *testing.T) {
	w := newWorld(t, zone)
	w.want(t, "", false, abc, "a.test opportunistic, b.test opportunistic, c.test opportunistic")
	if n := len(w.dns.Queries(dnstest.Match{})); n != 0 {
		t.Errorf("%d queries", n)
	}
	r, err := w.Policies(t.Context(), Request{MXSecure: true, Hosts: []Host{{Name: "a.test", Port: 25}, {Secure: true, Port: 25}}})
	if err != nil || r.Policies[0].TLS.GetKind() != opportunistic().GetKind() || len(w.dns.Queries(dnstest.Match{})) != 0 {
		t.Errorf("%v, %v: a host without secure addresses, or without a name, has no DANE", r.Policies, err)
	}
}

// The failed look-up is told as what it is about, and no policy of the other kind makes the host usable.
func TestR42_FailedLookupIsNotOverruled(t *testing.T) {
	for _, mode := range []string{"enforce", "testing", "none", ""} {
		w := newWorld(t, zone)
		w.dns.SetBehaviour(dnstest.Match{Name: "_25._tcp.a.test"}, dnstest.RCode(dns.RcodeServerFailure))
		if mode != "" {
			w.publish(mode, "*.test")
		}
		_, r := w.ask(t, "example.test", true, "a.test")
		p := r.Policies[0]
		if p.Failure == nil || p.Failure.Reason != smtpreply.ReasonTLSALookup || !r.Life.Ended {
			t.Errorf("mode %q: failure %v, life %+v", mode, p.Failure, r.Life)
		}
		if p.TLS.GetKind() != resolverv1.TlsPolicyKind_TLS_POLICY_KIND_DANE || len(p.TLS.GetTlsa()) > 0 || p.TLS.GetOrigin() != "TLSA _25._tcp.a.test" {
			t.Errorf("mode %q: %v, want DANE that nothing meets", mode, p.TLS)
		}
	}
}

// Records nobody can use require TLS; a policy in force asks for more and counts, one that is tested does not.
func TestR44_UnusableRecordsAndMTASTS(t *testing.T) {
	for mode, want := range map[string]string{"enforce": "c.test mta_sts", "testing": "c.test require", "none": "c.test require"} {
		w := newWorld(t, zone)
		w.publish(mode, "*.test")
		w.want(t, "example.test", true, []string{"c.test"}, want)
	}
}

func TestR47_FetchFails(t *testing.T) {
	w := newWorld(t, zone)
	r := w.want(t, "example.test", true, abc, "a.test dane, b.test opportunistic, c.test require")
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "404") || r.Policies[1].TLS.GetFinding() != r.Warnings[0] {
		t.Errorf("warnings %q, finding %q", r.Warnings, r.Policies[1].TLS.GetFinding())
	}
	if r.Policies[0].TLS.GetFinding() != "" {
		t.Errorf("the finding is not about %v", r.Policies[0].TLS)
	}
	if left := r.Life.Expires.Sub(w.clock()); left <= 0 || left > 5*time.Minute {
		t.Errorf("may be used for %s, want that the policy is asked for again in time", left)
	}
}

func TestR48_MismatchAndTheLastQuestion(t *testing.T) {
	w := newWorld(t, zone)
	w.publish("enforce", "c.test")
	r := w.want(t, "example.test", false, abc, "a.test mta_sts (mta_sts_mismatch), b.test mta_sts (mta_sts_mismatch), c.test mta_sts")
	if !strings.Contains(r.Policies[0].Failure.Detail, "a.test") {
		t.Errorf("%v", r.Policies[0].Failure)
	}
	if w.fetched != 1 {
		t.Errorf("fetched %d times while one host is left", w.fetched)
	}
	// No host is left: the policy is asked for once more, unless it is brand new.
	w.want(t, "example.test", false, abc[:2], "a.test mta_sts (mta_sts_mismatch), b.test mta_sts (mta_sts_mismatch)")
	w.publish("enforce", "b.test")
	w.change(func() { w.now = w.now.Add(5 * time.Minute) })
	w.want(t, "example.test", false, abc[:2], "a.test mta_sts (mta_sts_mismatch), b.test mta_sts")
	if w.fetched != 2 {
		t.Errorf("fetched %d times, want once more", w.fetched)
	}
}

func TestR49_TestingAndNone(t *testing.T) {
	w := newWorld(t, zone)
	w.publish("testing", "b.test")
	r := w.want(t, "example.test", false, abc[:2], "a.test opportunistic, b.test opportunistic")
	if a, b := r.Policies[0].TLS, r.Policies[1].TLS; a.GetFinding() == "" || b.GetFinding() != "" || b.GetOrigin() != "mta-sts policy id 1 (testing)" {
		t.Errorf("%v and %v", a, b)
	}
	w = newWorld(t, zone)
	w.publish("none")
	r = w.want(t, "example.test", false, abc[:1], "a.test opportunistic")
	if p := r.Policies[0].TLS; p.GetOrigin()+p.GetFinding() != "" {
		t.Errorf("%v, want nothing of mode none", p)
	}
}

// Without a domain there is no MTA-STS, and no host means no mismatch.
func TestR46_WithoutADomain(t *testing.T) {
	w := newWorld(t, zone)
	w.publish("enforce", "elsewhere.test")
	w.want(t, "", true, abc[:2], "a.test dane, b.test opportunistic")
	w.want(t, "example.test", true, nil, "")
	if w.fetched > 1 {
		t.Errorf("fetched %d times", w.fetched)
	}
	r, err := Opportunistic{}.Policies(t.Context(), Request{Domain: "example.test", Hosts: make([]Host, 2)})
	if err != nil || len(r.Policies) != 2 || r.Policies[1].TLS.GetKind() != opportunistic().GetKind() {
		t.Errorf("%v, %v", r, err)
	}
}

func TestCallerGivesUp(t *testing.T) {
	w := newWorld(t, zone)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, r := range []Request{
		{MXSecure: true, Hosts: []Host{{Name: "a.test", Secure: true, Port: 25}}},
		{Domain: "example.test", Hosts: []Host{{Name: "a.test", Port: 25}}},
	} {
		if _, err := w.Policies(ctx, r); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
}
