// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"context"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/smtpreply"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/destination"
	"github.com/postrider/postrider/services/sender/internal/mxfailover"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// Ways is how an attempt for a domain would go, without making it.
type Ways struct {
	// Destination is the entry of sender.destinations that counts, the zero value where there is none.
	Destination destination.Config
	// Route is what the resolver says; nil when it was not asked or does not answer.
	Route *resolverv1.ResolveRouteResponse
	// Ways are the addresses in the order in which they would be tried, Left how many more the route has.
	Ways []mxfailover.Way
	Left int
	// Failure is why there is no way at all; nil otherwise.
	Failure *smtpreply.Error
}

// Ways resolves a domain or address literal as an attempt for it does, configuration included.
func (e *Engine) Ways(ctx context.Context, domain string) Ways {
	if ascii, err := mailaddr.ToASCII(domain); err == nil {
		domain = ascii
	}
	w := Ways{Destination: e.destinations.For(domain, "")}
	smarthost := w.Destination.Smarthost
	auth, fail := credentials(smarthost)
	if w.Failure = fail; fail != nil {
		return w
	}
	ctx, cancel := context.WithTimeoutCause(ctx, resolveTime, errResolveTime)
	defer cancel()
	route, err := e.o.Resolver.ResolveRoute(ctx, &resolverv1.ResolveRouteRequest{
		Domain: domain, Smarthost: smarthost.Route(), IgnoreTlsPolicy: weaker(w.Destination),
	})
	w.Route = route
	if w.Failure = routeFailure(ctx, route, err); w.Failure != nil {
		return w
	}
	w.Destination = e.destinations.For(domain, route.GetSite())
	w.Ways, w.Left = e.walker.Ways(route, mxfailover.Mail{
		Message: &smtpclient.Message{}, TLS: w.Destination.TLS, Auth: auth, Smarthost: smarthost.Name(),
	})
	return w
}
