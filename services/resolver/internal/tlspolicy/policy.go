// SPDX-License-Identifier: Apache-2.0

package tlspolicy

import (
	"context"

	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// Request asks for the policies of the hosts of one route.
type Request struct {
	// Domain is the recipient domain as written, in A-label form: MTA-STS is looked up by it, never by the target of an
	// alias. Empty means that MTA-STS does not apply.
	Domain string
	// Canonical is the end of the domain's alias chain; "" when it is no alias.
	Canonical string
	// MXSecure says that the MX set was validated.
	MXSecure bool
	// Hosts are the hosts that have addresses.
	Hosts []Host
	// Fresh asks again for what is cached.
	Fresh bool
}

// Host is one host of a route.
type Host struct {
	// Name is the host as it stands in the MX record.
	Name string
	// Canonical is the end of its alias chain; "" when it is no alias.
	Canonical string
	// Secure says that its addresses and their alias chain were validated.
	Secure bool
	// Port is the TCP port dialled.
	Port uint16
}

// Policy is what was found for one host.
type Policy struct {
	// TLS is the policy. It is shared and must not be changed.
	TLS *resolverv1.TlsPolicy
	// Failure says why the host cannot be used in this attempt. TLS then tells the policy that forbids it.
	Failure *smtpreply.Error
}

// Result is what was found for all hosts, in their order.
type Result struct {
	Policies []Policy
	// Warnings are oddities that stopped nothing.
	Warnings []string
	// Life is how long the policies may be used; zero for as long as the route.
	Life dnsquery.Life
}

// Source finds policies. The error is that of ctx.
type Source interface {
	Policies(ctx context.Context, r Request) (Result, error)
}

// Opportunistic is the Source that claims nothing: STARTTLS when offered, not verified.
type Opportunistic struct{}

// Policies implements Source.
func (Opportunistic) Policies(_ context.Context, r Request) (Result, error) {
	out := Result{Policies: make([]Policy, len(r.Hosts))}
	out.fill(opportunistic())
	return out, nil
}
