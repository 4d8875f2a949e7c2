// SPDX-License-Identifier: Apache-2.0

package dane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/kit/smtpreply"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/resolver/internal/dnscache"
	"github.com/postrider/postrider/services/resolver/internal/dnsexchange"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
	"github.com/postrider/postrider/testkit/dnstest"
)

func over(t *testing.T, srv *dnstest.Server) dnsquery.Querier {
	t.Helper()
	servers := []netip.AddrPort{srv.Addr()}
	x := dnsexchange.New(dnsexchange.Options{
		Servers: servers, Prefer: dnstransport.UDP, Timeouts: dnsexchange.DefaultTimeouts(),
		Health: serverhealth.New(servers, nil, nil), Trusted: func(netip.Addr) bool { return true },
	})
	t.Cleanup(x.Close)
	cache := dnscache.New(dnscache.Options{Entries: 1000})
	return cache.Over(cache.Keep(x))
}

func find(t *testing.T, srv *dnstest.Server, h Host) Finding {
	t.Helper()
	f, err := Find(t.Context(), over(t, srv), h, false)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const (
	dane    = resolverv1.TlsPolicyKind_TLS_POLICY_KIND_DANE
	require = resolverv1.TlsPolicyKind_TLS_POLICY_KIND_REQUIRE
)

func hexOf(octets int) string { return strings.Repeat("ab", octets) }

func TestR41_BaseName(t *testing.T) {
	srv := dnstest.Start(t, fmt.Sprintf(`
		_25._tcp.mx.test          TLSA 3 1 1 %[1]s
		_25._tcp.end.test         TLSA 3 1 1 %[1]s
		_2525._tcp.mx.test        TLSA 2 0 1 %[1]s
		_25._tcp.alias.test       CNAME _25._tcp.mx.test
	`, hexOf(32)))
	srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
	for _, c := range []struct {
		name  string
		host  Host
		base  string
		owner string
	}{
		{"name in the MX", Host{Name: "mx.test", Port: 25}, "mx.test", "_25._tcp.mx.test"},
		{"end of the alias chain", Host{Name: "mx.test", Canonical: "end.test", Port: 25}, "end.test", "_25._tcp.end.test"},
		{"no records at the end of the chain", Host{Name: "mx.test", Canonical: "bare.test", Port: 25}, "mx.test", "_25._tcp.mx.test"},
		{"another port", Host{Name: "mx.test", Port: 2525}, "mx.test", "_2525._tcp.mx.test"},
		{"owner is an alias", Host{Name: "alias.test", Port: 25}, "alias.test", "_25._tcp.alias.test"},
	} {
		f := find(t, srv, c.host)
		if f.Policy.GetKind() != dane || f.Policy.GetSni() != c.base || f.Policy.GetOrigin() != "TLSA "+c.owner || len(f.Policy.GetTlsa()) != 1 {
			t.Errorf("%s: %v, failure %v", c.name, f.Policy, f.Failure)
		}
	}
	if f := find(t, srv, Host{Name: "bare.test", Port: 25}); f.Policy != nil || f.Failure != nil {
		t.Errorf("host without records: %v, %v", f.Policy, f.Failure)
	}
}

func TestR41_AnswerThatIsNotValidated(t *testing.T) {
	srv := dnstest.Start(t, "_25._tcp.mx.test TLSA 3 1 1 "+hexOf(32)+"\n")
	if f := find(t, srv, Host{Name: "mx.test", Port: 25}); f.Policy != nil || f.Failure != nil {
		t.Errorf("%v, %v, want no DANE", f.Policy, f.Failure)
	}
}

func TestR42_LookupFails(t *testing.T) {
	srv := dnstest.Start(t, "_25._tcp.mx.test TLSA 3 1 1 "+hexOf(32)+"\n")
	for name, behave := range map[string]dnstest.Behaviour{
		"servfail": dnstest.RCode(dns.RcodeServerFailure), "refused": dnstest.RCode(dns.RcodeRefused), "bogus": dnstest.Bogus,
		"lame": dnstest.Lame, "malformed": dnstest.Malformed,
	} {
		srv.SetBehaviour(dnstest.Match{}, behave)
		f := find(t, srv, Host{Name: "mx.test", Port: 25})
		if f.Policy.GetKind() != resolverv1.TlsPolicyKind_TLS_POLICY_KIND_DANE || len(f.Policy.GetTlsa()) > 0 || f.Policy.GetOrigin() != "TLSA _25._tcp.mx.test" {
			t.Errorf("%s: policy %v, want DANE without a record to meet it", name, f.Policy)
		}
		if f.Failure == nil || f.Failure.Reason != smtpreply.ReasonTLSALookup || f.Failure.RecordedStatus().String() != "4.7.5" || !f.Life.Ended {
			t.Errorf("%s: policy %v, failure %v", name, f.Policy, f.Failure)
		}
	}
	// A failure at the end of the chain must not lead to the other name.
	srv.ClearBehaviour()
	srv.SetBehaviour(dnstest.Match{Name: "_25._tcp.end.test"}, dnstest.RCode(dns.RcodeServerFailure))
	if f := find(t, srv, Host{Name: "mx.test", Canonical: "end.test", Port: 25}); f.Failure == nil {
		t.Errorf("%v, want the host unusable", f.Policy)
	}
}

func TestR43_UsableRecords(t *testing.T) {
	for _, c := range []struct {
		record dnsquery.TLSA
		want   bool
	}{
		{dnsquery.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, true},
		{dnsquery.TLSA{Usage: 3, Selector: 0, MatchingType: 2, Data: make([]byte, 64)}, true},
		{dnsquery.TLSA{Usage: 2, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, true},
		{dnsquery.TLSA{Usage: 2, Selector: 0, MatchingType: 0, Data: make([]byte, 900)}, true},
		{dnsquery.TLSA{Usage: 0, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{dnsquery.TLSA{Usage: 1, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{dnsquery.TLSA{Usage: 4, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{dnsquery.TLSA{Usage: 255, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{dnsquery.TLSA{Usage: 3, Selector: 2, MatchingType: 1, Data: make([]byte, 32)}, false},
		{dnsquery.TLSA{Usage: 3, Selector: 1, MatchingType: 3, Data: make([]byte, 32)}, false},
		{dnsquery.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 31)}, false},
		{dnsquery.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 64)}, false},
		{dnsquery.TLSA{Usage: 3, Selector: 1, MatchingType: 2, Data: make([]byte, 32)}, false},
		{dnsquery.TLSA{Usage: 3, Selector: 1, MatchingType: 0}, false},
	} {
		if got := usable(c.record); got != c.want {
			t.Errorf("%d %d %d with %d octets: %t", c.record.Usage, c.record.Selector, c.record.MatchingType, len(c.record.Data), got)
		}
	}
}

func TestR43_OnlyUsableRecordsAreTold(t *testing.T) {
	srv := dnstest.Start(t, fmt.Sprintf(`
		_25._tcp.mx.test  TLSA 3 1 1 %s
		_25._tcp.mx.test  TLSA 1 1 1 %s
		_25._tcp.mx.test  TLSA 2 1 2 %s
	`, hexOf(32), hexOf(32), hexOf(64)))
	srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
	p := find(t, srv, Host{Name: "mx.test", Port: 25, Names: []string{"recipient.test", "", "end.test", "mx.test"}}).Policy
	if p.GetKind() != dane || len(p.GetTlsa()) != 2 || p.GetTlsa()[0].GetUsage() == 1 || p.GetTlsa()[1].GetUsage() == 1 {
		t.Errorf("%v", p)
	}
	if want := []string{"mx.test", "recipient.test", "end.test"}; !slices.Equal(p.GetReferenceNames(), want) {
		t.Errorf("reference names %v, want %v", p.GetReferenceNames(), want)
	}
}

func TestR44_NoneUsable(t *testing.T) {
	srv := dnstest.Start(t, "_25._tcp.mx.test TLSA 0 0 1 "+hexOf(32)+"\n_25._tcp.mx.test TLSA 3 1 1 "+hexOf(20)+"\n")
	srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
	p := find(t, srv, Host{Name: "mx.test", Port: 25}).Policy
	if p.GetKind() != require || len(p.GetTlsa()) != 0 || p.GetFinding() == "" {
		t.Errorf("%v", p)
	}
}

func TestCallerGivesUp(t *testing.T) {
	srv := dnstest.Start(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Find(ctx, over(t, srv), Host{Name: "mx.test", Port: 25}, false); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
