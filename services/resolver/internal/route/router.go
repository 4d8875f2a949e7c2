// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"math/rand/v2"
	"time"

	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"

	"github.com/postrider/postrider/services/resolver/internal/boundedmap"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/mxlookup"
	"github.com/postrider/postrider/services/resolver/internal/ownhost"
	"github.com/postrider/postrider/services/resolver/internal/specialaddr"
	"github.com/postrider/postrider/services/resolver/internal/tlspolicy"
)

// Options describe a Router.
type Options struct {
	// DNS answers questions.
	DNS dnsquery.Querier
	// TLS finds policies.
	TLS tlspolicy.Source
	// Own knows which hosts are ourselves.
	Own *ownhost.Own
	// Guard knows which addresses are special.
	Guard specialaddr.Guard
	// Port is the TCP port the sender dials where the route names none.
	Port uint16
	// Entries bounds the cache of finished routes.
	Entries int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// IntN draws a number from 0 to n-1 and is safe for concurrent use; nil is that of math/rand/v2.
	IntN func(n int) int
}

// Router finds routes. It is safe for concurrent use.
type Router struct {
	o      Options
	routes *boundedmap.Map[string, *route] // by domain, or by "@" and smarthost
}

// New returns a Router.
func New(o Options) *Router {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.IntN == nil {
		o.IntN = rand.IntN
	}
	return &Router{o: o, routes: boundedmap.New[string, *route](o.Entries)}
}

// Resolve returns the route, or the verdict why there is none, as an answer. The error is a *SmarthostError or that of
// ctx. Address lists and policies of the answer are shared and must not be changed.
func (r *Router) Resolve(ctx context.Context, q Request) (*resolverv1.ResolveRouteResponse, error) {
	d, failure, err := parse(q)
	if err != nil {
		return nil, err
	}
	if failure != nil {
		wrong := draft{rest: rest{failure: failure.Proto()}}
		return wrong.finish().draw(d.domain, false, r.o.IntN, ages{}), nil
	}
	began := r.o.Now()
	key := d.domain
	if q.Smarthost != "" {
		key = "@" + q.Smarthost // the same for every domain
	}
	if !q.Fresh {
		if cached, ok := r.routes.Get(key); ok && began.Before(cached.expires) {
			return r.answer(cached, d, q.AnyTLS, began), nil
		}
	}
	built, err := r.build(ctx, d, q.Fresh)
	if err != nil {
		return nil, err
	}
	finished := built.finish()
	if built.life.Holds(began) {
		r.routes.Put(key, finished)
	}
	return r.answer(finished, d, q.AnyTLS, began), nil
}

// answer is the route for one call.
func (r *Router) answer(o *route, d destination, anyTLS bool, began time.Time) *resolverv1.ResolveRouteResponse {
	return o.draw(d.domain, anyTLS, r.o.IntN, o.ages(began))
}

// shuffle draws an order of targets of equal preference.
func (r *Router) shuffle(targets []mxlookup.Target) {
	shuffleLevels(targets, func(i int) uint32 { return uint32(targets[i].Preference) }, r.o.IntN)
}

// Flush forgets the finished routes that may depend on a name: all of them, since a host serves many domains. They are
// put together again from what the DNS cache still has.
func (r *Router) Flush() { r.routes.DeleteFunc(func(string, *route) bool { return true }) }
