// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/testkit/dnstest"
)

// manyMX is a domain with n MX at the preferences that pref gives.
func manyMX(n int, pref func(i int) int, address func(i int) string) string {
	var zone strings.Builder
	for i := range n {
		fmt.Fprintf(&zone, "many.test MX %d mx%03d.test\n", pref(i), i)
		if a := address(i); a != "" {
			fmt.Fprintf(&zone, "mx%03d.test A %s\n", i, a)
		}
	}
	return zone.String()
}

func numbered(i int) string { return fmt.Sprintf("198.51.100.%d", i) }

func TestR22_ManyMX(t *testing.T) {
	srv := dnstest.Start(t, manyMX(200, func(i int) int { return i }, numbered))
	r := newRig(t, rigOptions{}, srv)
	out := r.resolve(t, "many.test")
	const most = 16 // more than can be dialled, far less than there are
	if n := len(out.GetHosts()); n < 3 || n > most {
		t.Fatalf("%d hosts", n)
	}
	for i, h := range out.GetHosts() {
		if h.GetPreference() != uint32(i) || len(h.GetAddresses()) != 1 {
			t.Errorf("host %d: %v, want the first ones in order", i, h)
		}
	}
	if n := len(srv.Queries(dnstest.Match{Type: dns.TypeA})); n > most {
		t.Errorf("%d look-ups of addresses, want no more than can be dialled", n)
	}
}

// Of many hosts of one preference each attempt draws others.
func TestR22_ManyOfOnePreferenceAreDrawnAnew(t *testing.T) {
	srv := dnstest.Start(t, manyMX(200, func(int) int { return 10 }, numbered))
	r := newRig(t, rigOptions{}, srv)
	seen := map[string]bool{}
	sites := map[string]bool{}
	for range 12 {
		out := r.resolve(t, "many.test")
		sites[out.GetSite()] = true
		for _, h := range out.GetHosts() {
			seen[h.GetName()] = true
		}
	}
	if len(seen) < 60 || len(sites) != 1 {
		t.Errorf("%d of 200 hosts drawn in 12 calls, %d site names", len(seen), len(sites))
	}
}

// The first hosts without address do not hide the good ones behind them.
func TestR22_TheFirstHaveNoAddress(t *testing.T) {
	srv := dnstest.Start(t, manyMX(60, func(i int) int { return i }, func(i int) string {
		if i < 50 {
			return ""
		}
		return numbered(i)
	}))
	out := newRig(t, rigOptions{}, srv).resolve(t, "many.test")
	if len(out.GetHosts()) != 10 || out.GetHosts()[0].GetName() != "mx050.test" {
		t.Errorf("%s", shown(out))
	}
}

func TestR11_AllOfManyHaveNoAddress(t *testing.T) {
	none := func(int) string { return "" }
	srv := dnstest.Start(t, manyMX(60, func(i int) int { return i }, none))
	wantRoute(t, newRig(t, rigOptions{}, srv).resolve(t, "many.test"), "mx_no_address 5.4.4")
	srv.SetZone(dnstest.Parse(t, manyMX(200, func(i int) int { return i }, none)))
	wantRoute(t, newRig(t, rigOptions{}, srv).resolve(t, "many.test"), "dns_temp 4.4.3") // not all were looked at
}

// One of many hosts of a level is ourselves by address: the whole level goes, also when it is larger than one batch.
func TestR17_OurselvesAmongMany(t *testing.T) {
	srv := dnstest.Start(t, manyMX(60, func(i int) int { return i / 30 * 10 }, numbered))
	for range 5 {
		out := newRig(t, rigOptions{addresses: "198.51.100.59"}, srv).resolve(t, "many.test")
		for _, h := range out.GetHosts() {
			if h.GetPreference() != 0 {
				t.Fatalf("%s is of the level of ourselves", h.GetName())
			}
		}
	}
	wantRoute(t, newRig(t, rigOptions{addresses: "198.51.100.0"}, srv).resolve(t, "many.test"), "mx_self 5.4.6")
}
