// SPDX-License-Identifier: Apache-2.0

package route

import (
	"testing"

	"github.com/postrider/postrider/testkit/dnstest"
)

const ownZone = `
	example.test  MX 10 a.test
	example.test  MX 20 b.test
	example.test  MX 20 us.test
	example.test  MX 30 c.test
	best.test     MX 10 us.test
	best.test     MX 20 a.test
	bare.test     A  192.0.2.20
	us.test       A  192.0.2.20
	us.test       AAAA 2001:db8::20
	a.test        A  192.0.2.1
	b.test        A  192.0.2.2
	c.test        A  192.0.2.3
`

func TestR17_OwnHostRemoval(t *testing.T) {
	srv := dnstest.Start(t, ownZone)
	const whole = "10 a.test 192.0.2.1; 20 b.test 192.0.2.2; 20 us.test 2001:db8::20 192.0.2.20; 30 c.test 192.0.2.3"
	const cut = "10 a.test 192.0.2.1"
	for name, c := range map[string]struct {
		options rigOptions
		want    string
	}{
		"nothing is own":           {rigOptions{}, whole},
		"name":                     {rigOptions{own: []string{"US.test"}}, cut},
		"another name":             {rigOptions{own: []string{"them.test"}}, whole},
		"IPv4 address":             {rigOptions{addresses: "192.0.2.20"}, cut},
		"IPv6 address":             {rigOptions{addresses: "2001:db8::20"}, cut},
		"another address":          {rigOptions{addresses: "192.0.2.21"}, whole},
		"listener":                 {rigOptions{listeners: "192.0.2.20:25"}, cut},
		"listener on another port": {rigOptions{listeners: "192.0.2.20:2525"}, whole},
		"listener on another host": {rigOptions{listeners: "192.0.2.21:25"}, whole},
	} {
		c.options.intn = first
		out := newRig(t, c.options, srv).resolve(t, "example.test")
		if got := shown(out); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if warned := len(out.GetWarnings()) == 1; warned != (c.want == cut) {
			t.Errorf("%s: warnings %q", name, out.GetWarnings())
		}
		if site := "a.test"; c.want == cut && out.GetSite() != site {
			t.Errorf("%s: site %q, want %q", name, out.GetSite(), site)
		}
	}
}

func TestR18_NothingLeft(t *testing.T) {
	srv := dnstest.Start(t, ownZone)
	for _, o := range []rigOptions{{own: []string{"us.test"}}, {addresses: "192.0.2.20"}, {listeners: "[2001:db8::20]:25"}} {
		wantRoute(t, newRig(t, o, srv).resolve(t, "best.test"), "mx_self 5.4.6")
	}
}

func TestR19_ImplicitMXIsOurselves(t *testing.T) {
	srv := dnstest.Start(t, ownZone)
	for _, o := range []rigOptions{{own: []string{"bare.test"}}, {addresses: "192.0.2.20"}, {listeners: "192.0.2.20:25"}} {
		wantRoute(t, newRig(t, o, srv).resolve(t, "bare.test"), "mx_self 5.4.6")
	}
}

// Ourselves on a special address is ourselves first.
func TestR17_OwnListenerOnLoopback(t *testing.T) {
	srv := dnstest.Start(t, "loop.test MX 10 l.test\nl.test A 127.0.0.1\n")
	wantRoute(t, newRig(t, rigOptions{listeners: "127.0.0.1:25"}, srv).resolve(t, "loop.test"), "mx_self 5.4.6")
	wantRoute(t, newRig(t, rigOptions{listeners: "0.0.0.0:25"}, srv).resolve(t, "loop.test"), "mx_self 5.4.6")
	wantRoute(t, newRig(t, rigOptions{listeners: "127.0.0.1:2525"}, srv).resolve(t, "loop.test"), "special_address 5.4.4")
}
