// SPDX-License-Identifier: Apache-2.0

package ownhost

import (
	"net/netip"
	"testing"
)

func addrs(all ...string) (out []netip.Addr) {
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func ports(all ...string) (out []netip.AddrPort) {
	for _, a := range all {
		out = append(out, netip.MustParseAddrPort(a))
	}
	return out
}

func TestR17_WhatIsOurs(t *testing.T) {
	o := New([]string{"MX1.example.test"}, addrs("192.0.2.1", "2001:db8::1"), ports("192.0.2.9:25", "[2001:db8::9]:2525"))
	if !o.Name("mx1.example.test") || o.Name("mx2.example.test") || o.Name("example.test") {
		t.Error("names")
	}
	for _, c := range []struct {
		addr string
		port uint16
		want bool
	}{
		{"192.0.2.1", 25, true},
		{"192.0.2.1", 2525, true},
		{"::ffff:192.0.2.1", 25, true},
		{"2001:db8::1", 25, true},
		{"192.0.2.2", 25, false},
		{"192.0.2.9", 25, true},
		{"192.0.2.9", 2525, false},
		{"2001:db8::9", 2525, true},
		{"2001:db8::9", 25, false},
		{"127.0.0.1", 25, false},
	} {
		if got := o.Address(netip.MustParseAddr(c.addr), c.port); got != c.want {
			t.Errorf("%s port %d: %t", c.addr, c.port, got)
		}
	}
}

func TestR17_ListenerOnEveryAddress(t *testing.T) {
	for _, l := range []string{"0.0.0.0:25", "[::]:25"} {
		o := New(nil, nil, ports(l))
		o.local = func() []netip.Addr { return addrs("198.51.100.7", "2001:db8::7") }
		for text, want := range map[string]bool{
			"127.0.0.1": true, "127.0.0.9": true, "::1": true, "198.51.100.7": true, "2001:db8::7": true, "198.51.100.8": false,
		} {
			if got := o.Address(netip.MustParseAddr(text), 25); got != want {
				t.Errorf("%s: %s: %t", l, text, got)
			}
		}
		if o.Address(netip.MustParseAddr("127.0.0.1"), 26) {
			t.Error("owns a port nothing listens on")
		}
	}
}

func TestR17_WithoutConfigurationNothingIsOurs(t *testing.T) {
	o := New(nil, nil, nil)
	if o.ByAddress() || o.Name("localhost") || o.Address(netip.MustParseAddr("127.0.0.1"), 25) {
		t.Error("owns something")
	}
}

func TestInterfaces(t *testing.T) {
	for _, a := range interfaces() {
		if a.IsLoopback() {
			return
		}
	}
	t.Error("the loopback address is not among those of this machine")
}
