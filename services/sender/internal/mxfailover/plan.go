// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"net/netip"
	"slices"

	"github.com/postrider/postrider/kit/smtpreply"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/hostmemory"
)

const defaultPort = 25

// candidate is one address of a host, or a host that cannot be used.
type candidate struct {
	host    int // position in the route
	of      *resolverv1.Host
	address netip.AddrPort
	failure *smtpreply.Error // the resolver's word against the host
}

// plan lists the addresses of a route in the order they are to be tried: each once, within a host those first
// that were not dialled in the attempt before.
func plan(route *resolverv1.ResolveRouteResponse, port uint16, before map[netip.AddrPort]bool) []candidate {
	var all []candidate
	seen := map[netip.AddrPort]bool{}
	for i, host := range route.GetHosts() {
		if host.GetFailure() != nil {
			all = append(all, candidate{host: i, of: host, failure: smtpreply.FromProto(host.GetFailure())})
			continue
		}
		var again []candidate
		for _, text := range host.GetAddresses() {
			address, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			c := candidate{host: i, of: host, address: netip.AddrPortFrom(address.Unmap(), portOf(host, port))}
			switch {
			case seen[c.address]:
				continue
			case before[c.address]:
				again = append(again, c)
			default:
				all = append(all, c)
			}
			seen[c.address] = true
		}
		all = append(all, again...)
	}
	return all
}

// failingLast moves addresses that did not work lately to the end.
func failingLast(all []candidate, memory *hostmemory.Memory) []candidate {
	fails := func(c candidate) bool { return c.failure == nil && memory.Fails(c.address) }
	if !slices.ContainsFunc(all, fails) {
		return all
	}
	last := make([]candidate, 0, len(all))
	for _, c := range all {
		if fails(c) {
			last = append(last, c)
		}
	}
	return append(slices.DeleteFunc(all, fails), last...)
}

func portOf(host *resolverv1.Host, port uint16) uint16 {
	switch {
	case host.GetPort() > 0 && host.GetPort() <= 0xffff:
		return uint16(host.GetPort())
	case port == 0:
		return defaultPort
	default:
		return port
	}
}

// budget counts what R-22 limits.
type budget struct {
	dialled, greeted int
	perHost          map[int]int
}

// allows reports that an address of a host may still be dialled.
func (b *budget) allows(host int) bool {
	return b.dialled < maxDialled && b.greeted < maxGreeted && b.perHost[host] < maxPerHost
}

// spend counts a try. An address this machine has no way to costs nothing.
func (b *budget) spend(host int, fail *smtpreply.Error, greeted bool) {
	if fail != nil && fail.Reason == smtpreply.ReasonNoLocalRoute {
		return
	}
	b.dialled++
	b.perHost[host]++
	if greeted {
		b.greeted++
	}
}
