// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/services/resolver/internal/mxlookup"
	"github.com/postrider/postrider/testkit/dnstest"
)

func TestR50_InternationalNames(t *testing.T) {
	srv := dnstest.Start(t, `
		xn--bcher-kva.test  MX 10 mx.test
		xn--strae-oqa.test  MX 10 mx.test
		ab--cd.test         MX 10 mx.test
		_x.test             MX 10 mx.test
		mx.test             A  192.0.2.1
	`)
	r := newRig(t, rigOptions{}, srv)
	for _, c := range []struct{ domain, ascii string }{
		{"bücher.test", "xn--bcher-kva.test"},
		{"BÜCHER.test", "xn--bcher-kva.test"},
		{"bücher。test", "xn--bcher-kva.test"},
		{"xn--bcher-kva.test", "xn--bcher-kva.test"},
		{"XN--BCHER-KVA.TEST", "xn--bcher-kva.test"},
		{"straße.test", "xn--strae-oqa.test"}, // non-transitional: not strasse
		{"ab--cd.test", "ab--cd.test"},
		{"_x.test", "_x.test"},
	} {
		out := r.resolve(t, c.domain)
		wantRoute(t, out, "10 mx.test 192.0.2.1")
		if out.GetDomain() != c.ascii {
			t.Errorf("%s: domain %s, want %s", c.domain, out.GetDomain(), c.ascii)
		}
	}
	before := len(srv.Queries(dnstest.Match{}))
	for _, domain := range []string{
		"xn--a.test", "a..test", ".test", "test.", "sp ace.test", "a_b!.test", strings.Repeat("x", 64) + ".test", "192.0.2.1",
		"\u200d.test", strings.Repeat("ü", 200) + ".test", "x\r\n.test",
	} {
		wantRoute(t, r.resolve(t, domain), "bad_domain 5.1.2")
	}
	if len(srv.Queries(dnstest.Match{})) != before {
		t.Error("DNS was asked for what is no name")
	}
}

func TestR51_AddressLiterals(t *testing.T) {
	srv := dnstest.Start(t, "")
	r := newRig(t, rigOptions{addresses: "192.0.2.20"}, srv)
	out := r.resolve(t, "[192.0.2.1]")
	wantRoute(t, out, "0  192.0.2.1")
	if out.GetDomain() != "[192.0.2.1]" || out.GetSite() != "[192.0.2.1]" || out.GetImplicitMx() || out.GetHosts()[0].GetTls() == nil {
		t.Errorf("%v", out)
	}
	wantRoute(t, r.resolve(t, "[IPv6:2001:DB8::1]"), "0  2001:db8::1")
	wantRoute(t, r.resolve(t, "[IPv6:::ffff:192.0.2.1]"), "0  192.0.2.1")
	wantRoute(t, r.resolve(t, "[192.0.2.20]"), "mx_self 5.4.6")
	wantRoute(t, r.resolve(t, "[IPv6:::ffff:192.0.2.20]"), "mx_self 5.4.6")
	for _, bad := range []string{"[", "[]", "[2001:db8::1]", "[192.0.2]", "[IPv6:192.0.2.1]", "[192.0.2.1]x", "[x-tag:y]", "[IPv6:fe80::1%eth0]"} {
		wantRoute(t, r.resolve(t, bad), "bad_literal 5.1.3")
	}
	if n := len(srv.Queries(dnstest.Match{})); n != 0 {
		t.Errorf("%d DNS queries for literals", n)
	}
}

func TestR52_Smarthosts(t *testing.T) {
	srv := dnstest.Start(t, `
		relay.test  MX 10 mx.test
		relay.test  A  192.0.2.9
		mx.test     A  192.0.2.1
	`)
	r := newRig(t, rigOptions{addresses: "192.0.2.20"}, srv)
	for smarthost, want := range map[string]struct{ route, site string }{
		"relay.test":            {"10 mx.test 192.0.2.1", "mx.test"},
		"Relay.TEST:587":        {"10 mx.test:587 192.0.2.1", "mx.test:587"},
		"[relay.test]":          {"0 relay.test 192.0.2.9", "[relay.test]"},
		"[relay.test]:587":      {"0 relay.test:587 192.0.2.9", "[relay.test]:587"},
		"[192.0.2.7]:2525":      {"0 :2525 192.0.2.7", "[192.0.2.7]:2525"},
		"[2001:db8::7]":         {"0  2001:db8::7", "[IPv6:2001:db8::7]"},
		"[IPv6:2001:db8::7]:26": {"0 :26 2001:db8::7", "[IPv6:2001:db8::7]:26"},
		"[nowhere.test]":        {"no_address 4.4.4", "[nowhere.test]"},
		"nowhere.test":          {"no_such_domain 4.1.2", ""},
		"[192.0.2.20]":          {"mx_self 4.4.6", "[192.0.2.20]"},
		"[127.0.0.1]:25":        {"special_address 4.4.4", "[127.0.0.1]:25"},
	} {
		for range 2 {
			out := r.request(t, Request{Domain: "example.test", Smarthost: smarthost})
			wantRoute(t, out, want.route)
			if out.GetDomain() != "example.test" || out.GetSite() != want.site && out.GetFailure() == nil {
				t.Errorf("%s: domain %s, site %q, want site %q", smarthost, out.GetDomain(), out.GetSite(), want.site)
			}
		}
	}
	for _, bad := range []string{"[relay.test", "[relay.test]x", "[relay.test]:", "[relay.test]:0", "relay.test:x", "relay.test:70000", "re lay.test", "[fe80::1%eth0]", "[]"} {
		var fault *SmarthostError
		if _, err := r.Resolve(t.Context(), Request{Domain: "example.test", Smarthost: bad}); !errors.As(err, &fault) {
			t.Errorf("%q: %v, want a *SmarthostError", bad, err)
		}
	}
	// The route through a smarthost is the same for all domains, and the domain's own fault still counts.
	if out := r.request(t, Request{Domain: "other.test", Smarthost: "relay.test"}); out.GetDomain() != "other.test" {
		t.Errorf("domain %s", out.GetDomain())
	}
	wantRoute(t, r.request(t, Request{Domain: "a..b", Smarthost: "relay.test"}), "bad_domain 5.1.2")
}

func TestSiteNames(t *testing.T) {
	targets := func(hosts ...string) (all []mxlookup.Target) {
		for i, h := range hosts {
			all = append(all, mxlookup.Target{Host: h, Preference: uint16(i)})
		}
		return all
	}
	if a, b := site(targets("b.test", "a.test")), site(targets("a.test", "b.test")); a != b || a != "a.test,b.test" {
		t.Errorf("%q and %q", a, b)
	}
	var many, others []string
	for i := range 50 {
		many = append(many, fmt.Sprintf("mx%d.some-provider.test", i))
		others = append(others, fmt.Sprintf("mx%d.some-provider.test", i))
	}
	others[49] = "other.test"
	long, other := site(targets(many...)), site(targets(others...))
	if len(long) > maxSite || long == other || long != site(targets(many...)) {
		t.Errorf("%q (%d) and %q", long, len(long), other)
	}
}
