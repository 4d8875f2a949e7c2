// SPDX-License-Identifier: Apache-2.0

package mxlookup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/resolver/internal/dnscache"
	"github.com/postrider/postrider/services/resolver/internal/dnsexchange"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
	"github.com/postrider/postrider/testkit/dnstest"
)

// over is a cache over an exchange with the server, whose AD bit is believed.
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

func mustMX(t *testing.T, dns dnsquery.Querier, domain string) Exchanges {
	t.Helper()
	e, err := MX(t.Context(), dns, domain, false)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func mustLookup(t *testing.T, dns dnsquery.Querier, host string) Addresses {
	t.Helper()
	a, err := Lookup(t.Context(), dns, host, false)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func hosts(e Exchanges) string {
	var all []string
	for _, t := range e.Targets {
		all = append(all, fmt.Sprintf("%d %s", t.Preference, t.Host))
	}
	return strings.Join(all, ", ")
}

func TestVerdictsAndTargets(t *testing.T) {
	srv := dnstest.Start(t, `
		many.test      MX  20 b.test
		many.test      MX  10 a.test
		many.test      MX  20 c.test
		twice.test     MX  20 a.test
		twice.test     MX  10 A.test
		null.test      MX  0 .
		null7.test     MX  7 .
		nulls.test     MX  0 .
		nulls.test     MX  5 .
		mixed.test     MX  0 .
		mixed.test     MX  10 a.test
		bare.test      A   192.0.2.1
		literal.test   MX  10 192.0.2.1.
		literal6.test  MX  10 2001:db8::1.
		odd.test       MX  10 sp\032ace.test
		odd.test       MX  20 semi\;colon.test
		odd.test       MX  30 _under-score.test
		alias.test     CNAME many.test
		nullalias.test CNAME null.test
		gone.test      CNAME nowhere.test
	`)
	dns := over(t, srv)
	for _, c := range []struct {
		name, domain string
		reason       smtpreply.Reason
		status       string
		targets      string
		warnings     int
	}{
		{name: "R-02 ascending", domain: "many.test", targets: "10 a.test, 20 b.test, 20 c.test"},
		{name: "host named twice", domain: "twice.test", targets: "10 a.test"},
		{name: "R-03", domain: "bare.test", targets: "0 bare.test"},
		{name: "R-04", domain: "null.test", reason: smtpreply.ReasonNullMX, status: "5.1.10"},
		{name: "R-04 any preference", domain: "null7.test", reason: smtpreply.ReasonNullMX, status: "5.1.10"},
		{name: "R-04 nothing but null", domain: "nulls.test", reason: smtpreply.ReasonNullMX, status: "5.1.10"},
		{name: "R-05", domain: "mixed.test", targets: "10 a.test", warnings: 1},
		{name: "R-06", domain: "nowhere.test", reason: smtpreply.ReasonNoSuchDomain, status: "5.1.2"},
		{name: "R-12", domain: "alias.test", targets: "10 a.test, 20 b.test, 20 c.test"},
		{name: "R-12 null MX behind an alias", domain: "nullalias.test", reason: smtpreply.ReasonNullMX, status: "5.1.10"},
		{name: "R-12 alias to nothing", domain: "gone.test", reason: smtpreply.ReasonNoSuchDomain, status: "5.1.2"},
		{name: "R-15 IPv4 address", domain: "literal.test", reason: smtpreply.ReasonMXInvalid, status: "5.4.4", warnings: 1},
		{name: "R-15 IPv6 address", domain: "literal6.test", reason: smtpreply.ReasonMXInvalid, status: "5.4.4", warnings: 1},
		{name: "R-15 characters", domain: "odd.test", targets: "30 _under-score.test", warnings: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := mustMX(t, dns, c.domain)
			if got := hosts(e); got != c.targets || len(e.Warnings) != c.warnings {
				t.Errorf("targets %q, warnings %q", got, e.Warnings)
			}
			switch {
			case c.reason == "" && e.Failure != nil, c.reason != "" && e.Failure == nil:
				t.Fatalf("failure %v", e.Failure)
			case c.reason != "":
				if e.Failure.Reason != c.reason || e.Failure.RecordedStatus().String() != c.status || e.Failure.Detail == "" {
					t.Errorf("failure %v, status %s", e.Failure, e.Failure.RecordedStatus())
				}
			}
			if e.Implicit != (c.domain == "bare.test") {
				t.Errorf("implicit %t", e.Implicit)
			}
		})
	}
	if got := mustMX(t, dns, "alias.test").Canonical; got != "many.test" {
		t.Errorf("canonical name %q", got)
	}
}

// A server that answers only with the next alias is asked for the rest.
func TestR12_ChainInPieces(t *testing.T) {
	srv := dnstest.Start(t, `
		a.test  CNAME b.test
		b.test  CNAME c.test
		c.test  MX 10 mx.test
	`)
	piece := func(x *dnstest.Exchange) { x.Reply.Answer = x.Reply.Answer[:1] }
	srv.SetBehaviour(dnstest.Match{Name: "a.test"}, piece)
	srv.SetBehaviour(dnstest.Match{Name: "b.test"}, piece)
	if e := mustMX(t, over(t, srv), "a.test"); hosts(e) != "10 mx.test" || e.Canonical != "c.test" {
		t.Errorf("%+v", e)
	}
}

func TestR13_LoopsAndLongChains(t *testing.T) {
	var zone strings.Builder
	for i := range 11 {
		fmt.Fprintf(&zone, "l%d.test CNAME l%d.test\n", i, i+1)
	}
	zone.WriteString("l11.test MX 10 mx.test\na.test CNAME b.test\nb.test CNAME a.test\n")
	for name, piece := range map[string]dnstest.Behaviour{
		"whole": func(*dnstest.Exchange) {},
		"pieces": func(x *dnstest.Exchange) {
			if x.Reply.Answer[0].Header().Rrtype == dns.TypeCNAME {
				x.Reply.Answer = x.Reply.Answer[:1]
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := dnstest.Start(t, zone.String())
			srv.SetBehaviour(dnstest.Match{}, piece)
			q := over(t, srv)
			if e := mustMX(t, q, "l1.test"); hosts(e) != "10 mx.test" {
				t.Errorf("10 aliases: %+v", e)
			}
			for _, domain := range []string{"l0.test", "a.test"} {
				e := mustMX(t, q, domain)
				if e.Failure == nil || e.Failure.Reason != smtpreply.ReasonCNAMELoop || e.Failure.RecordedStatus().String() != "4.4.3" {
					t.Errorf("%s: %v, want cname_loop", domain, e.Failure)
				}
				if !e.Life.Ended {
					t.Errorf("%s: may be cached", domain)
				}
			}
		})
	}
}

func TestLookupOfAddresses(t *testing.T) {
	srv := dnstest.Start(t, `
		both.test   A     192.0.2.1
		both.test   A     192.0.2.2
		both.test   AAAA  2001:db8::1
		v4.test     A     192.0.2.4
		v6.test     AAAA  2001:db8::6
		mapped.test AAAA  ::ffff:192.0.2.7
		mapped.test A     192.0.2.7
		alias.test  CNAME both.test
		empty.test  TXT   "nothing"
	`)
	q := over(t, srv)
	addrs := func(a Addresses) string { return fmt.Sprint(a.V6, a.V4) }
	for host, want := range map[string]string{
		"both.test": "[2001:db8::1] [192.0.2.1 192.0.2.2]", "v4.test": "[] [192.0.2.4]", "v6.test": "[2001:db8::6] []",
		"mapped.test": "[] [192.0.2.7]", "alias.test": "[2001:db8::1] [192.0.2.1 192.0.2.2]",
		"empty.test": "[] []", "nowhere.test": "[] []",
	} {
		if a := mustLookup(t, q, host); addrs(a) != want || a.Failure != nil || a.Life.Ended {
			t.Errorf("%s: %s, failure %v, want %s", host, addrs(a), a.Failure, want)
		}
	}
	a := mustLookup(t, q, "alias.test")
	if a.Canonical != "both.test" || len(a.Warnings("alias.test", true)) != 1 || len(a.Warnings("alias.test", false)) != 0 {
		t.Errorf("R-14: canonical %q, warnings %v", a.Canonical, a.Warnings("alias.test", true))
	}
}

func TestR09_OneFamilyFails(t *testing.T) {
	for _, broken := range []uint16{dns.TypeA, dns.TypeAAAA} {
		srv := dnstest.Start(t, "both.test A 192.0.2.1\nboth.test AAAA 2001:db8::1\n")
		srv.SetBehaviour(dnstest.Match{Type: broken}, dnstest.RCode(dns.RcodeServerFailure))
		q := over(t, srv)
		a := mustLookup(t, q, "both.test")
		if len(a.V4)+len(a.V6) != 1 || a.Failure == nil || !a.Life.Ended || len(a.Warnings("both.test", true)) != 1 {
			t.Errorf("%s broken: %+v", dns.TypeToString[broken], a)
		}
	}
}

func TestSecureOnlyWhenEverythingIs(t *testing.T) {
	srv := dnstest.Start(t, `
		a.test     MX 10 both.test
		both.test  A     192.0.2.1
		both.test  AAAA  2001:db8::1
	`)
	srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
	if q := over(t, srv); !mustMX(t, q, "a.test").Secure || !mustLookup(t, q, "both.test").Secure {
		t.Error("not secure with AD everywhere")
	}
	srv.SetBehaviour(dnstest.Match{Type: dns.TypeAAAA}, func(*dnstest.Exchange) {})
	if mustLookup(t, over(t, srv), "both.test").Secure {
		t.Error("secure although AAAA is not")
	}
	if mustLookup(t, over(t, srv), "nowhere.test").Secure {
		t.Error("secure without an address")
	}
}

func TestLifeIsThatOfTheShortest(t *testing.T) {
	srv := dnstest.Start(t, "both.test 30 A 192.0.2.1\nboth.test 600 AAAA 2001:db8::1\n")
	a := mustLookup(t, over(t, srv), "both.test")
	if d := a.Life.Expires.Sub(a.Life.Asked); d < 29*time.Second || d > 31*time.Second {
		t.Errorf("lives %s, want 30 s", d)
	}
}

func TestCallerGivesUp(t *testing.T) {
	srv := dnstest.Start(t, "")
	srv.SetBehaviour(dnstest.Match{}, dnstest.Hang)
	q := over(t, srv)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := MX(ctx, q, "a.test", false); !errors.Is(err, context.Canceled) {
		t.Errorf("MX: %v", err)
	}
	if _, err := Lookup(ctx, q, "a.test", false); !errors.Is(err, context.Canceled) {
		t.Errorf("Lookup: %v", err)
	}
}

func TestR37_AddressesAreAskedForThemselves(t *testing.T) {
	srv := dnstest.Start(t, "a.test MX 10 mx.test\nmx.test A 192.0.2.1\n")
	srv.SetBehaviour(dnstest.Match{Type: dns.TypeMX}, dnstest.Additional("mx.test A 192.0.2.66"))
	q := over(t, srv)
	mustMX(t, q, "a.test")
	if a := mustLookup(t, q, "mx.test"); !slices.Equal(a.V4, []netip.Addr{netip.MustParseAddr("192.0.2.1")}) {
		t.Errorf("addresses %v", a.V4)
	}
}
