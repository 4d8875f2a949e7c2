// SPDX-License-Identifier: Apache-2.0

package specialaddr

import (
	"net/netip"
	"testing"
)

func TestR16_SpecialAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"0.0.0.0": "unspecified", "0.1.2.3": "of this network", "127.0.0.1": "loopback", "127.255.255.254": "loopback",
		"169.254.1.1": "link-local", "224.0.0.1": "multicast", "239.1.1.1": "multicast", "255.255.255.255": "broadcast",
		"::": "unspecified", "::1": "loopback", "fe80::1": "link-local", "febf::1": "link-local", "ff02::1": "multicast",
		"::ffff:127.0.0.1": "loopback", "::ffff:0.0.0.1": "of this network",
		"64:ff9b::7f00:1": "loopback", "64:ff9b::a9fe:101": "link-local", "64:ff9b::": "unspecified",
		"2002:7f00:1::": "loopback", "2002:a9fe:101::1": "link-local", "2002:e000:1::1": "multicast",

		"192.0.2.1": "", "10.0.0.1": "", "192.168.1.1": "", "100.64.0.1": "", "126.255.255.255": "", "128.0.0.1": "",
		"223.255.255.255": "", "255.255.255.254": "", "1.0.0.0": "",
		"2001:db8::1": "", "fec0::1": "", "fc00::1": "", "::2": "",
		"::ffff:192.0.2.1": "", "64:ff9b::c000:201": "", "64:ff9b:1::7f00:1": "", "2002:c000:201::1": "", "2003:7f00:1::": "",
	} {
		if got := (Guard{}).Refuses(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestR16_AllowList(t *testing.T) {
	g := Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/30"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("64:ff9b::7f01:0/112")}}
	for text, allowed := range map[string]bool{
		"127.0.0.1": true, "127.0.0.3": true, "127.0.0.4": false, "::1": true, "fe80::1": false,
		"::ffff:127.0.0.2": true, "2002:7f00:2::1": true, "64:ff9b::7f01:5": true, "64:ff9b::7f02:5": false,
	} {
		if got := g.Refuses(netip.MustParseAddr(text)) == ""; got != allowed {
			t.Errorf("%s: allowed %t, want %t", text, got, allowed)
		}
	}
}
