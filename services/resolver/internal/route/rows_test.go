// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/testkit/dnstest"
)

func TestR01_AddressesOfTheDomainAreNotUsedBesideMX(t *testing.T) {
	srv := dnstest.Start(t, `
		example.test  MX 10 mx.test
		example.test  A  192.0.2.99
		dead.test     MX 10 nowhere.test
		dead.test     A  192.0.2.99
		mx.test       A  192.0.2.1
	`)
	r := newRig(t, rigOptions{}, srv)
	wantRoute(t, r.resolve(t, "example.test"), "10 mx.test 192.0.2.1")
	wantRoute(t, r.resolve(t, "dead.test"), "mx_no_address 5.4.4")
	if srv.Count("example.test", dns.TypeA)+srv.Count("dead.test", dns.TypeA) != 0 {
		t.Error("the domain's own addresses were asked for")
	}
}

func TestR02_OrderAndShuffle(t *testing.T) {
	srv := dnstest.Start(t, `
		example.test  MX 30 d.test
		example.test  MX 20 b.test
		example.test  MX 10 a.test
		example.test  MX 20 c.test
		a.test        A  192.0.2.1
		b.test        A  192.0.2.2
		c.test        A  192.0.2.3
		d.test        A  192.0.2.4
	`)
	r := newRig(t, rigOptions{}, srv)
	drawn := map[string]int{}
	const calls = 400
	for range calls {
		drawn[shown(r.resolve(t, "example.test"))]++
	}
	const bc = "10 a.test 192.0.2.1; 20 b.test 192.0.2.2; 20 c.test 192.0.2.3; 30 d.test 192.0.2.4"
	const cb = "10 a.test 192.0.2.1; 20 c.test 192.0.2.3; 20 b.test 192.0.2.2; 30 d.test 192.0.2.4"
	if drawn[bc]+drawn[cb] != calls || drawn[bc] < calls/4 || drawn[cb] < calls/4 {
		t.Errorf("drawn %v, want both orders about equally often, also from the cache", drawn)
	}
	if n := srv.Count("example.test", dns.TypeMX); n != 1 {
		t.Errorf("MX asked %d times", n)
	}
}

func TestR03_ImplicitMX(t *testing.T) {
	srv := dnstest.Start(t, "bare.test A 192.0.2.1\nbare.test AAAA 2001:db8::1\n")
	out := newRig(t, rigOptions{}, srv).resolve(t, "Bare.TEST")
	wantRoute(t, out, "0 bare.test 2001:db8::1 192.0.2.1")
	if !out.GetImplicitMx() || out.GetDomain() != "bare.test" || out.GetSite() != "bare.test" {
		t.Errorf("%v", out)
	}
}

func TestR04_NullMX(t *testing.T) {
	srv := dnstest.Start(t, "null.test MX 7 .\nnull.test A 192.0.2.1\n")
	r := newRig(t, rigOptions{}, srv)
	wantRoute(t, r.resolve(t, "null.test"), "null_mx 5.1.10")
	if n := len(srv.Queries(dnstest.Match{})); n != 1 {
		t.Errorf("%d queries, want no look-up of addresses", n)
	}
	wantRoute(t, r.resolve(t, "null.test"), "null_mx 5.1.10")
	if n := len(srv.Queries(dnstest.Match{})); n != 1 {
		t.Error("the verdict was not cached")
	}
}

func TestR05_NullMXBesideOthers(t *testing.T) {
	srv := dnstest.Start(t, "mixed.test MX 0 .\nmixed.test MX 10 a.test\na.test A 192.0.2.1\n")
	out := newRig(t, rigOptions{}, srv).resolve(t, "mixed.test")
	wantRoute(t, out, "10 a.test 192.0.2.1")
	if len(out.GetWarnings()) != 1 {
		t.Errorf("warnings %q, want one", out.GetWarnings())
	}
}

func TestR06_NoSuchDomain(t *testing.T) {
	srv := dnstest.Start(t, "")
	wantRoute(t, newRig(t, rigOptions{}, srv).resolve(t, "nowhere.test"), "no_such_domain 5.1.2")
}

func TestR07_TemporaryFailureIsNeverNoMX(t *testing.T) {
	srv := dnstest.Start(t, "example.test MX 10 a.test\nexample.test A 192.0.2.9\na.test A 192.0.2.1\n")
	for name, behave := range map[string]dnstest.Behaviour{
		"servfail": dnstest.RCode(dns.RcodeServerFailure), "refused": dnstest.RCode(dns.RcodeRefused),
		"malformed": dnstest.Malformed, "lame": dnstest.Lame,
	} {
		srv.SetBehaviour(dnstest.Match{}, behave)
		srv.ForgetQueries()
		r := newRig(t, rigOptions{}, srv)
		wantRoute(t, r.resolve(t, "example.test"), "dns_temp 4.4.3")
		if srv.Count("example.test", dns.TypeA) != 0 {
			t.Errorf("%s: fell to the addresses of the domain", name)
		}
		srv.ClearBehaviour()
		wantRoute(t, r.resolve(t, "example.test"), "10 a.test 192.0.2.1") // not cached
	}
}

// The operator is told which server failed and how; the failure itself, which the sender of the mail reads, names none.
func TestR07_WarningsNameTheServers(t *testing.T) {
	one, two := dnstest.Start(t, ""), dnstest.Start(t, "")
	one.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeServerFailure))
	two.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeRefused))
	r := newRig(t, rigOptions{ttl: time.Minute}, one, two)
	for _, lately := range []string{"", ", a moment ago"} {
		out := r.resolve(t, "example.test")
		wantRoute(t, out, "dns_temp 4.4.3")
		want := []string{
			"The DNS server " + one.Addr().String() + " failed the question MX example.test: servfail" + lately + ".",
			"The DNS server " + two.Addr().String() + " failed the question MX example.test: denied" + lately + ".",
		}
		if !slices.Equal(out.GetWarnings(), want) || strings.Contains(out.GetFailure().GetDetail(), "127.0.0.1") {
			t.Errorf("warnings %q, want %q; failure %v", out.GetWarnings(), want, out.GetFailure())
		}
	}
}

func TestR08_NeitherMXNorAddress(t *testing.T) {
	srv := dnstest.Start(t, "text.test TXT hello\n")
	wantRoute(t, newRig(t, rigOptions{}, srv).resolve(t, "text.test"), "no_address 5.4.4")
	srv.SetBehaviour(dnstest.Match{Type: dns.TypeA}, dnstest.RCode(dns.RcodeNameError))
	srv.SetBehaviour(dnstest.Match{Type: dns.TypeAAAA}, dnstest.RCode(dns.RcodeNameError))
	wantRoute(t, newRig(t, rigOptions{}, srv).resolve(t, "text.test"), "no_address 5.4.4")
}

func TestR09_OneFamilyFails(t *testing.T) {
	for _, broken := range []uint16{dns.TypeA, dns.TypeAAAA} {
		srv := dnstest.Start(t, "bare.test A 192.0.2.1\nbare.test AAAA 2001:db8::1\nv4.test A 192.0.2.4\nv6.test AAAA 2001:db8::6\n")
		srv.SetBehaviour(dnstest.Match{Type: broken}, dnstest.RCode(dns.RcodeServerFailure))
		r := newRig(t, rigOptions{}, srv)
		found, lost := map[string]string{"bare.test": "0 bare.test 192.0.2.1", "v4.test": "0 v4.test 192.0.2.4"}, "v6.test"
		if broken == dns.TypeA {
			found, lost = map[string]string{"bare.test": "0 bare.test 2001:db8::1", "v6.test": "0 v6.test 2001:db8::6"}, "v4.test"
		}
		for domain, want := range found {
			wantRoute(t, r.resolve(t, domain), want)
		}
		wantRoute(t, r.resolve(t, lost), "dns_temp 4.4.3")
		srv.ClearBehaviour()
		wantRoute(t, r.resolve(t, "bare.test"), "0 bare.test 2001:db8::1 192.0.2.1") // the half was not cached
	}
}

// What was found must also be usable: a special address beside a failed look-up defers.
func TestR09_OnlyASpecialAddressFound(t *testing.T) {
	srv := dnstest.Start(t, "bare.test A 127.0.0.1\n")
	srv.SetBehaviour(dnstest.Match{Type: dns.TypeAAAA}, dnstest.RCode(dns.RcodeServerFailure))
	wantRoute(t, newRig(t, rigOptions{}, srv).resolve(t, "bare.test"), "dns_temp 4.4.3")
}

func TestR10_SomeTargetsFail(t *testing.T) {
	srv := dnstest.Start(t, `
		example.test  MX 10 broken.test
		example.test  MX 20 none.test
		example.test  MX 30 good.test
		broken.test   A  192.0.2.1
		good.test     A  192.0.2.3
	`)
	srv.SetBehaviour(dnstest.Match{Name: "broken.test"}, dnstest.RCode(dns.RcodeServerFailure))
	r := newRig(t, rigOptions{}, srv)
	wantRoute(t, r.resolve(t, "example.test"), "10 broken.test (dns_temp); 30 good.test 192.0.2.3")
	srv.ClearBehaviour()
	wantRoute(t, r.resolve(t, "example.test"), "10 broken.test 192.0.2.1; 30 good.test 192.0.2.3")
}

func TestR11_NoTargetHasAnAddress(t *testing.T) {
	srv := dnstest.Start(t, "example.test MX 10 one.test\nexample.test MX 20 two.test\none.test TXT hello\n")
	wantRoute(t, newRig(t, rigOptions{}, srv).resolve(t, "example.test"), "mx_no_address 5.4.4")
	srv.SetBehaviour(dnstest.Match{Name: "two.test", Type: dns.TypeAAAA}, dnstest.RCode(dns.RcodeServerFailure))
	wantRoute(t, newRig(t, rigOptions{}, srv).resolve(t, "example.test"), "dns_temp 4.4.3")
}

func TestR12_DomainIsAnAlias(t *testing.T) {
	srv := dnstest.Start(t, "www.test CNAME example.test\nexample.test MX 10 a.test\na.test A 192.0.2.1\nbare.test CNAME host.test\nhost.test A 192.0.2.2\n")
	r := newRig(t, rigOptions{}, srv)
	out := r.resolve(t, "www.test")
	wantRoute(t, out, "10 a.test 192.0.2.1")
	if out.GetDomain() != "www.test" || out.GetCanonicalDomain() != "example.test" || len(out.GetWarnings()) != 0 {
		t.Errorf("%v", out)
	}
	wantRoute(t, r.resolve(t, "bare.test"), "0 bare.test 192.0.2.2")
}

func TestR13_AliasLoop(t *testing.T) {
	srv := dnstest.Start(t, "a.test CNAME b.test\nb.test CNAME a.test\nmx.test MX 10 a.test\n")
	r := newRig(t, rigOptions{}, srv)
	wantRoute(t, r.resolve(t, "a.test"), "cname_loop 4.4.3")
	wantRoute(t, r.resolve(t, "mx.test"), "cname_loop 4.4.3")
}

func TestR14_TargetIsAnAlias(t *testing.T) {
	srv := dnstest.Start(t, "example.test MX 10 a.test\na.test CNAME b.test\nb.test CNAME c.test\nc.test A 192.0.2.1\n")
	out := newRig(t, rigOptions{}, srv).resolve(t, "example.test")
	wantRoute(t, out, "10 a.test 192.0.2.1")
	if len(out.GetWarnings()) != 1 || !strings.Contains(out.GetWarnings()[0], "CNAME") {
		t.Errorf("warnings %q", out.GetWarnings())
	}
}

func TestR15_TargetIsNoHostName(t *testing.T) {
	long := strings.Repeat("x", 63)
	srv := dnstest.Start(t, fmt.Sprintf(`
		mixed.test  MX 10 192.0.2.66.
		mixed.test  MX 20 sp\032ace.test
		mixed.test  MX 30 a\.b.test
		mixed.test  MX 40 _good.test
		mixed.test  MX 50 %[1]s.test
		only.test   MX 10 2001:db8::1.
		_good.test  A  192.0.2.1
		%[1]s.test  A  192.0.2.2
	`, long))
	r := newRig(t, rigOptions{}, srv)
	out := r.resolve(t, "mixed.test")
	wantRoute(t, out, "40 _good.test 192.0.2.1; 50 "+long+".test 192.0.2.2")
	if len(out.GetWarnings()) != 3 {
		t.Errorf("warnings %q", out.GetWarnings())
	}
	wantRoute(t, r.resolve(t, "only.test"), "mx_invalid 5.4.4")
}

func TestR16_SpecialAddresses(t *testing.T) {
	srv := dnstest.Start(t, `
		example.test  MX 10 a.test
		example.test  MX 20 b.test
		a.test  A     127.0.0.1
		a.test  A     192.0.2.1
		b.test  A     169.254.0.1
		b.test  AAAA  64:ff9b::7f00:1
		b.test  AAAA  ::1
		only.test  MX 10 b.test
		bare.test  A  0.0.0.0
		six.test   AAAA  2002:7f00:1::
	`)
	r := newRig(t, rigOptions{}, srv)
	out := r.resolve(t, "example.test")
	wantRoute(t, out, "10 a.test 192.0.2.1")
	if len(out.GetWarnings()) != 1 {
		t.Errorf("warnings %q, want one for the host left out", out.GetWarnings())
	}
	for _, domain := range []string{"only.test", "bare.test", "six.test", "[127.0.0.1]", "[IPv6:::ffff:127.0.0.1]", "[IPv6:fe80::1]"} {
		wantRoute(t, r.resolve(t, domain), "special_address 5.4.4")
	}
	allowed := newRig(t, rigOptions{allow: "127.0.0.0/8"}, srv)
	wantRoute(t, allowed.resolve(t, "example.test"), "10 a.test 127.0.0.1 192.0.2.1; 20 b.test 64:ff9b::7f00:1")
	wantRoute(t, allowed.resolve(t, "[127.0.0.1]"), "0  127.0.0.1")
}

func TestR20_FamiliesAlternate(t *testing.T) {
	srv := dnstest.Start(t, `
		example.test MX 10 a.test
		a.test A    192.0.2.1
		a.test A    192.0.2.2
		a.test A    192.0.2.3
		a.test AAAA 2001:db8::1
		a.test AAAA 2001:db8::2
		six.test  MX 10 b.test
		b.test A    192.0.2.9
		b.test AAAA 2001:db8::1
		b.test AAAA 2001:db8::2
		b.test AAAA 2001:db8::3
	`)
	r := newRig(t, rigOptions{}, srv)
	wantRoute(t, r.resolve(t, "example.test"), "10 a.test 2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 192.0.2.3")
	wantRoute(t, r.resolve(t, "six.test"), "10 b.test 2001:db8::1 192.0.2.9 2001:db8::2 2001:db8::3")
}

func TestR21_EachAddressOnce(t *testing.T) {
	srv := dnstest.Start(t, `
		example.test MX 10 a.test
		example.test MX 20 b.test
		example.test MX 30 c.test
		a.test A 192.0.2.1
		b.test A 192.0.2.1
		c.test A 192.0.2.1
		c.test A 192.0.2.3
	`)
	r := newRig(t, rigOptions{}, srv)
	for range 2 {
		wantRoute(t, r.resolve(t, "example.test"), "10 a.test 192.0.2.1; 30 c.test 192.0.2.3")
	}
}

func TestR26_ChangedMXIsSeenAfterItsTTL(t *testing.T) {
	srv := dnstest.Start(t, "example.test 60 MX 10 a.test\na.test 3600 A 192.0.2.1\n")
	r := newRig(t, rigOptions{}, srv)
	wantRoute(t, r.resolve(t, "example.test"), "10 a.test 192.0.2.1")
	srv.SetZone(dnstest.Parse(t, "example.test 60 MX 10 b.test\nb.test A 192.0.2.2\n"))
	r.clock.pass(60*time.Second - 1)
	out := r.resolve(t, "example.test")
	wantRoute(t, out, "10 a.test 192.0.2.1")
	if age, left := out.GetCacheAge().AsDuration(), out.GetCacheLeft().AsDuration(); age != 60*time.Second-1 || left != 1 {
		t.Errorf("cache age %s, left %s", age, left)
	}
	r.clock.pass(1)
	out = r.resolve(t, "example.test")
	wantRoute(t, out, "10 b.test 192.0.2.2")
	if age, left := out.GetCacheAge().AsDuration(), out.GetCacheLeft().AsDuration(); age != 0 || left != 60*time.Second {
		t.Errorf("cache age %s, left %s of a route asked now", age, left)
	}
	srv.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeServerFailure))
	r.clock.pass(60 * time.Second)
	out = r.resolve(t, "example.test")
	wantRoute(t, out, "dns_temp 4.4.3") // no stale answers
	if out.GetCacheLeft() != nil {
		t.Errorf("left %s of what is not kept", out.GetCacheLeft().AsDuration())
	}
}

func TestFreshAsksAgain(t *testing.T) {
	srv := dnstest.Start(t, "example.test 60 MX 10 a.test\na.test 3600 A 192.0.2.1\n")
	r := newRig(t, rigOptions{}, srv)
	r.resolve(t, "example.test")
	srv.SetZone(dnstest.Parse(t, "example.test 60 MX 10 a.test\na.test A 192.0.2.2\n"))
	wantRoute(t, r.request(t, Request{Domain: "example.test", Fresh: true}), "10 a.test 192.0.2.2")
	wantRoute(t, r.resolve(t, "example.test"), "10 a.test 192.0.2.2")
}
