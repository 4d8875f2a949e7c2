// SPDX-License-Identifier: Apache-2.0

// Package ownhost knows which mail hosts are ourselves, so that mail is not sent in a circle (RFC 5321, section 5.1;
// A node often stands beside the inbound MX of the same name, so its name alone says nothing.
package ownhost

import (
	"net"
	"net/netip"
	"strings"
)

// Own is what is ours. The zero value owns nothing.
type Own struct {
	names     map[string]struct{}
	addresses map[netip.Addr]struct{}
	listeners []netip.AddrPort
	local     func() []netip.Addr
}

// New returns what is ours: MX names in A-label form, IP addresses, and the addresses on which SMTP listeners of ours
// listen. A listener on the unspecified address owns every address of this machine.
func New(names []string, addresses []netip.Addr, listeners []netip.AddrPort) *Own {
	o := &Own{names: map[string]struct{}{}, addresses: map[netip.Addr]struct{}{}, listeners: listeners, local: interfaces}
	for _, n := range names {
		o.names[strings.ToLower(n)] = struct{}{}
	}
	for _, a := range addresses {
		o.addresses[a.Unmap()] = struct{}{}
	}
	return o
}

// Name reports an MX name that is ours.
func (o *Own) Name(host string) bool {
	_, own := o.names[host]
	return own
}

// ByAddress reports that hosts can be ours by their address, so that all of them must be looked up to know.
func (o *Own) ByAddress() bool { return len(o.addresses) > 0 || len(o.listeners) > 0 }

// Address reports that what listens on an address and port is ours.
func (o *Own) Address(addr netip.Addr, port uint16) bool {
	addr = addr.Unmap()
	if _, own := o.addresses[addr]; own {
		return true
	}
	for _, l := range o.listeners {
		if l.Port() != port {
			continue
		}
		if l.Addr().Unmap() == addr || l.Addr().IsUnspecified() && o.isLocal(addr) {
			return true
		}
	}
	return false
}

func (o *Own) isLocal(addr netip.Addr) bool {
	if addr.IsLoopback() || addr.IsUnspecified() {
		return true
	}
	for _, a := range o.local() {
		if a == addr {
			return true
		}
	}
	return false
}

func interfaces() []netip.Addr {
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	all := make([]netip.Addr, 0, len(nets))
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil {
			all = append(all, p.Addr().Unmap())
		}
	}
	return all
}
