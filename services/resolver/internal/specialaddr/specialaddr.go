// SPDX-License-Identifier: Apache-2.0

// Package specialaddr keeps mail from being sent to addresses no mail host on the Internet has: loopback, link-local,
// multicast and the like (R-16; RFC 6890). A DNS record must not be able to make us talk to ourselves or to our
// neighbours.
package specialaddr

import "net/netip"

// Guard judges addresses. The zero value allows nothing special.
type Guard struct {
	// Allow are the special addresses that are wanted all the same.
	Allow []netip.Prefix
}

// Refuses returns what kind of special address it is, "" when it may be used. An IPv6 address that carries an IPv4
// address (v4-mapped, NAT64 of RFC 6052, section 2.1, 6to4 of RFC 3056, section 2) is judged by that.
func (g Guard) Refuses(addr netip.Addr) string {
	inner := carried(addr)
	kind := kindOf(inner)
	if kind == "" {
		return ""
	}
	for _, p := range g.Allow {
		if p.Contains(inner) || p.Contains(addr) {
			return ""
		}
	}
	return kind
}

func carried(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr
	}
	b := addr.As16()
	switch {
	case nat64().Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case b[0] == 0x20 && b[1] == 0x02: // 2002::/16
		return netip.AddrFrom4([4]byte(b[2:6]))
	default:
		return addr
	}
}

// nat64 is the well-known prefix 64:ff9b::/96.
func nat64() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0, 0x64, 0xff, 0x9b}), 96)
}

func kindOf(addr netip.Addr) string {
	switch {
	case addr.IsUnspecified():
		return "unspecified"
	case addr.Is4() && addr.As4()[0] == 0:
		return "of this network"
	case addr.IsLoopback():
		return "loopback"
	case addr.IsLinkLocalUnicast():
		return "link-local"
	case addr.IsMulticast():
		return "multicast"
	case addr.Is4() && addr.As4() == [4]byte{255, 255, 255, 255}:
		return "broadcast"
	default:
		return ""
	}
}
