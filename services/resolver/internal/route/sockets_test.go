// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/testkit/dnstest"
)

// overEach runs a test over UDP and over TCP, each with a server of its own.
func overEach(t *testing.T, zone string, run func(t *testing.T, over dnstransport.Transport, srv *dnstest.Server)) {
	for _, over := range []dnstransport.Transport{dnstransport.UDP, dnstransport.TCP} {
		t.Run(string(over), func(t *testing.T) {
			t.Parallel()
			srv := dnstest.Start(t, zone)
			run(t, over, srv)
			udp, tcp := len(srv.Queries(dnstest.Match{Transport: dnstest.UDP})), len(srv.Queries(dnstest.Match{Transport: dnstest.TCP}))
			if over == dnstransport.UDP && udp == 0 || over == dnstransport.TCP && (tcp == 0 || udp > 0) {
				t.Errorf("%d queries over UDP and %d over TCP", udp, tcp)
			}
		})
	}
}

// heldFor checks that the MX of a domain is asked once within life, and again when it is over. Zero is not kept at all.
func heldFor(t *testing.T, r *rig, srv *dnstest.Server, domain string, life time.Duration) {
	t.Helper()
	asked := func(want int, when string) {
		t.Helper()
		r.resolve(t, domain)
		if n := srv.Count(domain, dns.TypeMX); n != want {
			t.Fatalf("%s: MX asked %d times %s, want %d", domain, n, when, want)
		}
	}
	srv.ForgetQueries()
	asked(1, "at first")
	if life == 0 {
		asked(2, "at once again")
		return
	}
	r.clock.pass(life - 1)
	asked(1, "just before the end of "+life.String())
	r.clock.pass(1)
	asked(2, "at the end of "+life.String())
}

func TestR23_LifetimeOfAnswersFromTheWire(t *testing.T) {
	zone := `
		alias.test    30  CNAME one.test
		one.test      60  MX 10 a.test
		set.test      90  MX 10 a.test
		set.test      40  MX 20 b.test
		short.test     1  MX 10 a.test
		zero.test      0  MX 10 a.test
		negative.test 60  MX 10 a.test
		long.test 604800  MX 10 a.test
		a.test    604800  A  192.0.2.1
		b.test    604800  A  192.0.2.2
	`
	overEach(t, zone, func(t *testing.T, over dnstransport.Transport, srv *dnstest.Server) {
		srv.SetBehaviour(dnstest.Match{Name: "negative.test"}, func(x *dnstest.Exchange) {
			x.Reply.Answer[0].Header().Ttl = 1<<31 | 3600 // the top bit is set: 0 (RFC 2181, section 8)
		})
		r := newRig(t, rigOptions{prefer: over}, srv)
		for domain, life := range map[string]time.Duration{
			"alias.test": 30 * time.Second, "one.test": time.Minute, "set.test": 40 * time.Second, "short.test": 5 * time.Second,
			"zero.test": 5 * time.Second, "negative.test": 5 * time.Second, "long.test": 24 * time.Hour,
		} {
			heldFor(t, r, srv, domain, life)
		}
	})
}

func TestR24_LifetimeOfAbsenceFromTheWire(t *testing.T) {
	zone := "text.test TXT hello\nproof.test MX 10 a.test\na.test A 192.0.2.1\n"
	overEach(t, zone, func(t *testing.T, over dnstransport.Transport, srv *dnstest.Server) {
		r := newRig(t, rigOptions{prefer: over}, srv)
		r.resolve(t, "proof.test") // so that an answer without SOA is not taken for a lame one
		for _, c := range []struct {
			ttl, minimum uint32
			life         time.Duration
		}{
			{300, 60, time.Minute}, {60, 300, time.Minute}, {86400, 86400, time.Hour}, {0, 60, 0}, {60, 0, 0}, {1<<31 | 60, 60, 0},
		} {
			srv.SetBehaviour(dnstest.Match{}, func(x *dnstest.Exchange) {
				for _, rr := range x.Reply.Ns {
					rr.(*dns.SOA).Hdr.Ttl, rr.(*dns.SOA).Minttl = c.ttl, c.minimum
				}
			})
			for domain, want := range map[string]string{"nowhere.test": "no_such_domain 5.1.2", "text.test": "no_address 5.4.4"} {
				heldFor(t, r, srv, domain, c.life)
				wantRoute(t, r.resolve(t, domain), want)
				r.clock.pass(2 * time.Hour)
			}
		}
		srv.SetBehaviour(dnstest.Match{}, dnstest.NoSOA)
		heldFor(t, r, srv, "nowhere.test", 0)
		heldFor(t, r, srv, "text.test", 0)
	})
}

func TestR43_RecordsFromTheWire(t *testing.T) {
	cases := []struct {
		record string
		usable bool
	}{
		{"3 1 1 " + strings.Repeat("ab", 32), true},
		{"3 0 2 " + strings.Repeat("ab", 64), true},
		{"2 1 1 " + strings.Repeat("ab", 32), true},
		{"2 0 0 " + strings.Repeat("ab", 900), true},
		{"2 0 0 " + strings.Repeat("ab", 3000), true}, // too long for UDP: the answer is truncated and comes over TCP
		{"0 1 1 " + strings.Repeat("ab", 32), false},
		{"1 1 1 " + strings.Repeat("ab", 32), false},
		{"4 1 1 " + strings.Repeat("ab", 32), false},
		{"255 1 1 " + strings.Repeat("ab", 32), false},
		{"3 2 1 " + strings.Repeat("ab", 32), false},
		{"3 1 3 " + strings.Repeat("ab", 32), false},
		{"3 1 1 " + strings.Repeat("ab", 31), false},
		{"3 1 1 " + strings.Repeat("ab", 64), false},
		{"3 1 2 " + strings.Repeat("ab", 32), false},
	}
	zone := "mixed.test MX 10 mixed.test\nmixed.test A 192.0.2.1\n_25._tcp.mixed.test TLSA " + cases[0].record + "\n_25._tcp.mixed.test TLSA " + cases[5].record + "\n"
	for i, c := range cases {
		zone += fmt.Sprintf("d%d.test MX 10 d%[1]d.test\nd%[1]d.test A 192.0.2.1\n_25._tcp.d%[1]d.test TLSA %[2]s\n", i, c.record)
	}
	overEach(t, zone, func(t *testing.T, over dnstransport.Transport, srv *dnstest.Server) {
		srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
		r := newPolicyRigOver(t, over, &policyHosts{}, srv)
		for i, c := range cases {
			domain := fmt.Sprintf("d%d.test", i)
			out := r.resolve(t, domain)
			kind := " require"
			if c.usable {
				kind = " dane"
			}
			if wantPolicies(t, out, domain+kind); len(out.GetHosts()[0].GetTls().GetTlsa()) == 1 != c.usable {
				t.Errorf("%.20s: %v", c.record, out.GetHosts()[0].GetTls())
			}
			if c.usable {
				got := out.GetHosts()[0].GetTls().GetTlsa()[0]
				if text := fmt.Sprintf("%d %d %d %x", got.GetUsage(), got.GetSelector(), got.GetMatchingType(), got.GetData()); text != c.record {
					t.Errorf("%.40s came as %.40s", c.record, text)
				}
			}
		}
		if got := r.resolve(t, "mixed.test").GetHosts()[0].GetTls().GetTlsa(); len(got) != 1 || got[0].GetUsage() != 3 {
			t.Errorf("%v, want the usable record alone", got)
		}
	})
}

func TestR45_RecordFromTheWire(t *testing.T) {
	many := make([]string, 60) // more than fits into a datagram
	for i := range many {
		many[i] = fmt.Sprintf(`"some other record %d %s"`, i, strings.Repeat("x", 40))
	}
	cases := []struct {
		name    string
		records []string
		id      string // of the policy that is fetched, "" for none
	}{
		{"good", []string{`"v=STSv1\; id=20260101T000000\;"`}, "20260101T000000"},
		{"without the last semicolon", []string{`"v=STSv1\;id=a1"`}, "a1"},
		{"in pieces", []string{`"v=STS" "v1\; i" "d=1\;"`}, "1"},
		{"longest id", []string{`"v=STSv1\; id=` + strings.Repeat("a", 32) + `\;"`}, strings.Repeat("a", 32)},
		{"beside others", []string{`"hello"`, `"v=STSv1\; id=1\;"`, `"v=spf1 -all"`}, "1"},
		{"beside very many", append(many, `"v=STSv1\; id=1\;"`), "1"},
		{"none", nil, ""},
		{"others only", []string{`"hello"`}, ""},
		{"two", []string{`"v=STSv1\; id=1\;"`, `"v=STSv1\; id=2\;"`}, ""},
		{"without an id", []string{`"v=STSv1\;"`}, ""},
		{"empty id", []string{`"v=STSv1\; id=\;"`}, ""},
		{"id too long", []string{`"v=STSv1\; id=` + strings.Repeat("a", 33) + `\;"`}, ""},
		{"id with a hyphen", []string{`"v=STSv1\; id=2026-01\;"`}, ""},
		{"another version", []string{`"v=STSv2\; id=1\;"`}, ""},
	}
	zone := "mx.test A 192.0.2.1\n"
	for i, c := range cases {
		zone += fmt.Sprintf("d%d.test MX 10 mx.test\n", i)
		for _, record := range c.records {
			zone += fmt.Sprintf("_mta-sts.d%d.test 60 TXT %s\n", i, record)
		}
	}
	overEach(t, zone, func(t *testing.T, over dnstransport.Transport, srv *dnstest.Server) {
		hosts := &policyHosts{files: map[string]string{}}
		r := newPolicyRigOver(t, over, hosts, srv)
		policy := func(i int) (origin string) {
			return r.resolve(t, fmt.Sprintf("d%d.test", i)).GetHosts()[0].GetTls().GetOrigin()
		}
		for i, c := range cases {
			hosts.set(fmt.Sprintf("d%d.test", i), file("enforce", "mx.test"))
			hosts.fetched = 0
			want, fetches := "", 0
			if c.id != "" {
				want, fetches = "mta-sts policy id "+c.id, 1
			}
			if origin := policy(i); origin != want || hosts.fetched != fetches {
				t.Errorf("%s: origin %q after %d fetches, want %q after %d", c.name, origin, hosts.fetched, want, fetches)
			}
		}
		// A policy that was fetched stays in force until its max_age, a week, whatever becomes of the record.
		srv.SetZone(dnstest.Parse(t, "mx.test A 192.0.2.1\nd0.test MX 10 mx.test\n_mta-sts.d0.test 60 TXT nothing\n"))
		for _, c := range []struct {
			pass time.Duration
			want string
		}{
			{61 * time.Second, "mta-sts policy id 20260101T000000"},
			{7*24*time.Hour - 62*time.Second, "mta-sts policy id 20260101T000000"},
			{time.Second, ""},
		} {
			r.clock.pass(c.pass)
			if origin := policy(0); origin != c.want {
				t.Errorf("%s later: origin %q, want %q", c.pass, origin, c.want)
			}
		}
	})
}
