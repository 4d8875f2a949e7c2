// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"github.com/postrider/postrider/kit/smtpreply"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// Way is one address of a route and how a session with it would be opened, or a host that cannot be used.
type Way struct {
	// Host is the host, Name the name it is known under: that of the MX record, else the address literal.
	Host *resolverv1.Host
	Name string
	// Options open the session. They are not set when Failure is.
	Options smtpclient.Options
	// Failure is why no address of the host can be tried for this mail; nil for an address.
	Failure *smtpreply.Error
}

// Ways lists what Deliver would try for m if no host took it, in order and within the limits of R-22. left is the number
// of addresses beyond these limits.
func (w *Walker) Ways(route *resolverv1.ResolveRouteResponse, m Mail) (ways []Way, left int) {
	a := newAttempt(w, route, m)
	for i := range a.plan {
		c := &a.plan[i]
		way := Way{Host: c.of, Name: a.hostName(c.host), Failure: c.failure}
		if way.Failure == nil && !a.budget.allows(c.host) {
			left++
			continue
		}
		var policy smtpclient.TLSPolicy
		if way.Failure == nil {
			policy, way.Failure = a.policy(c.of)
		}
		if way.Failure == nil {
			way.Options = a.options(i, policy)
			way.Options.LastCandidate = false // nothing waits for this greeting but a person
			a.budget.spend(c.host, nil, false)
		}
		ways = append(ways, way)
	}
	return ways, left
}
