// SPDX-License-Identifier: Apache-2.0

package route

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// route is a finished route in a form that is small and never changed, so that many callers can share it.
type route struct {
	site     string
	hops     []hop // in order of preference
	rare     *rest // nil for most
	expires  time.Time
	asked    time.Duration // before expires, when the oldest answer came
	implicit bool
	shared   bool // an address stands at more than one hop
	ended    bool // something in it failed: it is for one call only
}

// rest is what most routes have not.
type rest struct {
	canonical string
	warnings  []string
	failure   *eventv1.Failure
	forbidden *eventv1.Failure // all usable hops are forbidden by their TLS policy
}

// draft is a route that is being put together.
type draft struct {
	route
	rest
	life dnsquery.Life
}

// finish is the finished form.
func (o *draft) finish() *route {
	done := o.route
	if o.canonical != "" || len(o.warnings) > 0 || o.failure != nil || o.forbidden != nil {
		rare := o.rest
		done.rare = &rare
	}
	done.ended = o.life.Ended
	done.expires, done.asked = o.life.Expires, o.life.Expires.Sub(o.life.Asked)
	return &done
}

// hop is one host of a route. With addresses and a failure it is its TLS policy that forbids it.
type hop struct {
	name       string
	preference uint16
	port       uint16
	addrs      []string
	tls        *resolverv1.TlsPolicy
	failure    *eventv1.Failure
}

// fill puts the host into an answer.
func (h *hop) fill(out *resolverv1.Host, anyTLS bool) {
	out.Name, out.Preference, out.Port = h.name, uint32(h.preference), uint32(h.port)
	out.Addresses, out.Tls, out.Failure = h.addrs, h.tls, h.failure
	switch {
	case h.failure == nil || len(h.addrs) == 0:
	case anyTLS:
		out.Failure = nil
		out.Tls = &resolverv1.TlsPolicy{
			Kind: resolverv1.TlsPolicyKind_TLS_POLICY_KIND_OPPORTUNISTIC, Origin: h.tls.GetOrigin(), Finding: h.failure.GetDetail(),
		}
	default:
		out.Addresses = nil
	}
}

// sharesAddresses reports an address that is reached through more than one name.
func (o *draft) sharesAddresses() bool {
	seen := map[string]struct{}{}
	for i := range o.hops {
		for _, a := range o.hops[i].addrs {
			if _, again := seen[a]; again {
				return true
			}
			seen[a] = struct{}{}
		}
	}
	return false
}

// reply is a response and what hangs on it in one piece of memory.
type reply struct {
	response  resolverv1.ResolveRouteResponse
	age, left durationpb.Duration
}

// ages are how old the oldest answer of a route is, and how long the first to end still holds.
type ages struct{ oldest, left time.Duration }

// ages are those at a moment. What was asked within the call itself has no age; what is not kept does not hold.
func (o *route) ages(now time.Time) (a ages) {
	if o.expires.IsZero() {
		return ages{}
	}
	a.oldest = max(now.Sub(o.expires)+o.asked, 0)
	if !o.ended {
		a.left = max(o.expires.Sub(now), 0)
	}
	return a
}

// set fills d.
func set(d *durationpb.Duration, t time.Duration) {
	d.Seconds, d.Nanos = int64(t/time.Second), int32(t%time.Second)
}

// draw makes the answer for one call: hosts of equal preference in random order (RFC 5321, section 5.1; R-02), each
// address once. anyTLS takes hosts their TLS policy forbids. intn draws from 0 to n-1. Address lists, policies and
// failures are shared with other calls.
func (o *route) draw(domain string, anyTLS bool, intn func(int) int, a ages) *resolverv1.ResolveRouteResponse {
	r := &reply{}
	out := &r.response
	out.Domain, out.Site, out.ImplicitMx = domain, o.site, o.implicit
	if o.rare != nil {
		out.CanonicalDomain, out.Failure, out.Warnings = o.rare.canonical, o.rare.failure, o.rare.warnings
		if o.rare.forbidden != nil && !anyTLS {
			out.Failure = o.rare.forbidden
		}
	}
	set(&r.age, a.oldest)
	out.CacheAge = &r.age
	if a.left > 0 {
		set(&r.left, a.left)
		out.CacheLeft = &r.left
	}
	if len(o.hops) == 0 || out.Failure != nil {
		return out
	}
	hosts := make([]resolverv1.Host, len(o.hops))
	out.Hosts = make([]*resolverv1.Host, len(o.hops))
	for i := range o.hops {
		o.hops[i].fill(&hosts[i], anyTLS)
		out.Hosts[i] = &hosts[i]
	}
	shuffleLevels(out.Hosts, func(i int) uint32 { return out.Hosts[i].Preference }, intn)
	if o.shared {
		out.Hosts = once(out.Hosts)
	}
	return out
}

// shuffleLevels shuffles each run of equal preference (Fisher-Yates).
func shuffleLevels[T any](all []T, preference func(i int) uint32, intn func(int) int) {
	for start := 0; start < len(all); {
		end := start + 1
		for end < len(all) && preference(end) == preference(start) {
			end++
		}
		level := all[start:end]
		for i := len(level) - 1; i > 0; i-- {
			j := intn(i + 1)
			level[i], level[j] = level[j], level[i]
		}
		start = end
	}
}

// once leaves each address with the first host it is reached through, and drops hosts that have none left.
func once(hosts []*resolverv1.Host) []*resolverv1.Host {
	seen := map[string]struct{}{}
	kept := hosts[:0]
	for _, h := range hosts {
		own := make([]string, 0, len(h.Addresses))
		for _, a := range h.Addresses {
			if _, again := seen[a]; !again {
				seen[a] = struct{}{}
				own = append(own, a)
			}
		}
		if len(own) == 0 && h.Failure == nil {
			continue
		}
		h.Addresses = own
		kept = append(kept, h)
	}
	return kept
}
