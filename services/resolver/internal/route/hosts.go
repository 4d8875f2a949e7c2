// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"net/netip"
	"sync"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/mxlookup"
)

// Numbers that bound the work for domains with many MX.
const (
	// together is the number of hosts looked up at the same time; a route with no more is looked up whole and cached.
	together = 16
	// enough is the number of usable hosts after which no more are looked up: no more are dialled in one attempt.
	enough = 10
	// most is the number of hosts looked up for one route.
	most = 100
)

// host is one target with what is known of it.
type host struct {
	mxlookup.Target
	found   mxlookup.Addresses
	addrs   []netip.Addr     // allowed ones, in the order in which they are tried
	own     bool             // it is ourselves
	special string           // kind of special address it was left out for
	failure *smtpreply.Error // temporary: it keeps its place
}

func (h *host) usable() bool { return len(h.addrs) > 0 }

// lookup finds the addresses of hosts, together at a time. The error is that of ctx.
func (r *Router) lookup(ctx context.Context, targets []mxlookup.Target, d destination, fresh bool) ([]host, error) {
	hosts := make([]host, len(targets))
	errs := make([]error, len(targets))
	one := func(i int) {
		hosts[i].Target = targets[i]
		hosts[i].found, errs[i] = mxlookup.Lookup(ctx, r.o.DNS, targets[i].Host, fresh)
		r.judge(&hosts[i], d)
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, together)
	for i := 1; i < len(targets); i++ {
		slots <- struct{}{}
		wg.Go(func() {
			one(i)
			<-slots
		})
	}
	if len(targets) > 0 {
		one(0)
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return hosts, nil
}

// judge sorts out which addresses of a host may be dialled and in which order.
func (r *Router) judge(h *host, d destination) {
	port := d.port
	if port == 0 {
		port = r.o.Port
	}
	h.failure = h.found.Failure
	keep := func(all []netip.Addr) []netip.Addr {
		kept := make([]netip.Addr, 0, len(all))
		for _, addr := range all {
			if r.o.Own.Address(addr, port) {
				h.own = true
			}
			if kind := r.o.Guard.Refuses(addr); kind != "" {
				h.special = kind
				continue
			}
			kept = append(kept, addr)
		}
		return kept
	}
	h.addrs = interleave(keep(h.found.V6), keep(h.found.V4))
	if h.usable() {
		h.failure = nil // what was found is used
	}
}

// interleave alternates the families, IPv6 first (RFC 8305, section 4).
func interleave(v6, v4 []netip.Addr) []netip.Addr {
	all := make([]netip.Addr, 0, len(v6)+len(v4))
	for i := range max(len(v6), len(v4)) {
		if i < len(v6) {
			all = append(all, v6[i])
		}
		if i < len(v4) {
			all = append(all, v4[i])
		}
	}
	return all
}

// survey looks up as many of the targets as are needed. self says that one of them is ourselves: it and all of the same
// or a higher preference value are not among the hosts. more says that targets were left unasked.
func (r *Router) survey(ctx context.Context, targets []mxlookup.Target, d destination, fresh bool) (s surveyed, err error) {
	targets, s.limit, s.self = r.beforeOurselves(targets)
	for len(targets) > 0 {
		n := r.batch(targets)
		hosts, err := r.lookup(ctx, targets[:n], d, fresh)
		if err != nil {
			return surveyed{}, err
		}
		targets = targets[n:]
		if s.take(hosts) {
			return s, nil
		}
		if s.usable >= enough || len(s.hosts) >= most {
			break
		}
	}
	s.more = len(targets) > 0
	return s, nil
}

// surveyed is what survey found.
type surveyed struct {
	hosts  []host
	usable int
	self   string // name of the host that is ourselves
	limit  int    // its preference; beyond any when there is none
	more   bool
	life   dnsquery.Life
}

// none is a limit beyond any preference.
const none = 1 << 16

// take adds hosts, up to the first that is ourselves, and reports whether there was one.
func (s *surveyed) take(hosts []host) bool {
	found := false
	for i := range hosts {
		s.life.Join(hosts[i].found.Life)
		if hosts[i].own && int(hosts[i].Preference) < s.limit {
			found, s.limit, s.self = true, int(hosts[i].Preference), hosts[i].Host
		}
	}
	for i := range hosts {
		if int(hosts[i].Preference) >= s.limit {
			continue
		}
		s.hosts = append(s.hosts, hosts[i])
		if hosts[i].usable() {
			s.usable++
		}
	}
	return found
}

// beforeOurselves cuts the targets at the preference of the first whose name is ours.
func (r *Router) beforeOurselves(targets []mxlookup.Target) (kept []mxlookup.Target, limit int, self string) {
	for _, t := range targets {
		if r.o.Own.Name(t.Host) {
			return below(targets, int(t.Preference)), int(t.Preference), t.Host
		}
	}
	return targets, none, ""
}

// below are the targets before a preference.
func below(targets []mxlookup.Target, limit int) []mxlookup.Target {
	for i, t := range targets {
		if int(t.Preference) >= limit {
			return targets[:i]
		}
	}
	return targets
}

// batch is how many of the targets are looked up next: all when they are few. When a host can be ourselves by its
// address, whole preference levels, since one of them being ours removes its level.
func (r *Router) batch(targets []mxlookup.Target) int {
	n := min(together, len(targets))
	if r.o.Own.ByAddress() {
		for n < min(len(targets), most) && targets[n].Preference == targets[n-1].Preference {
			n++
		}
	}
	return n
}
