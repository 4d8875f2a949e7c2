// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/cmd/postrider/internal/timeline"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
)

type routeCommand struct {
	client.Options
	Domain string `arg:"" help:"Domain or address literal."`
	Fresh  bool   `help:"Ask DNS again instead of the cache."`
}

// routeJSON is what `postrider route --json` prints.
type routeJSON struct {
	Domain          string          `json:"domain"`
	CanonicalDomain string          `json:"canonical_domain,omitempty"`
	Site            string          `json:"site"`
	ImplicitMX      bool            `json:"implicit_mx"`
	CacheAgeMS      int64           `json:"cache_age_ms"`
	CacheLeftMS     int64           `json:"cache_left_ms"`
	Hosts           []routeHostJSON `json:"hosts"`
	Warnings        []string        `json:"warnings"`
	Failure         *routeFailure   `json:"failure"`
}

type routeHostJSON struct {
	Host       string        `json:"host"`
	Preference uint32        `json:"preference"`
	Addresses  []string      `json:"addresses"`
	TLS        string        `json:"tls"`
	TLSOrigin  string        `json:"tls_origin,omitempty"`
	TLSFinding string        `json:"tls_finding,omitempty"`
	Failure    *routeFailure `json:"failure,omitempty"`
}

type routeFailure struct {
	Status string `json:"status"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

// errNoRoute makes the exit status 1 after the route was printed.
var errNoRoute = silentError{"there is no route"}

func (c *routeCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		route, err := resolverv1.NewResolverServiceClient(conn).ResolveRoute(ctx, &resolverv1.ResolveRouteRequest{
			Domain: withoutRoot(c.Domain), BypassCache: c.Fresh,
		})
		if err != nil {
			return resolverError(err)
		}
		if c.JSON {
			client.WriteJSON(streams.Out, routeAsJSON(route))
		} else {
			writeRoute(streams.Out, route)
		}
		if route.GetFailure() != nil {
			return errNoRoute
		}
		return nil
	})
}

// withoutRoot is a domain as mail writes it, without the dot that DNS tools put at its end (RFC 1034, section 3.1).
func withoutRoot(domain string) string { return strings.TrimSuffix(domain, ".") }

func writeRoute(w io.Writer, r *resolverv1.ResolveRouteResponse) {
	fmt.Fprintf(w, "%s", r.GetDomain())
	if r.GetCanonicalDomain() != "" {
		fmt.Fprintf(w, " is an alias of %s", r.GetCanonicalDomain())
	}
	if r.GetImplicitMx() {
		fmt.Fprint(w, "  (no MX: the domain's own addresses)")
	}
	fmt.Fprintln(w, cacheNote(r))
	if f := r.GetFailure(); f != nil {
		fmt.Fprintf(w, "no route: %s\n", timeline.FailureLine(f))
	}
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	if len(r.GetHosts()) > 0 {
		fmt.Fprintln(table, "PREFERENCE\tHOST\tTLS\tADDRESSES")
	}
	for _, h := range r.GetHosts() {
		addresses := strings.Join(h.GetAddresses(), " ")
		if h.GetPort() != 0 {
			addresses += fmt.Sprintf(" port %d", h.GetPort())
		}
		if f := h.GetFailure(); f != nil {
			addresses = "not usable now: " + timeline.FailureLine(f)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\n", h.GetPreference(), cmp.Or(h.GetName(), r.GetDomain()), tlsCell(h.GetTls()), addresses)
	}
	_ = table.Flush() // to the terminal
	for _, h := range r.GetHosts() {
		if finding := h.GetTls().GetFinding(); finding != "" && h.GetFailure() == nil && !slices.Contains(r.GetWarnings(), finding) {
			fmt.Fprintf(w, "%s: %s\n", h.GetName(), finding)
		}
	}
	for _, warning := range r.GetWarnings() {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
}

// cacheNote says how old the answers are and when DNS is asked again; "" when it was asked just now.
func cacheNote(r *resolverv1.ResolveRouteResponse) string {
	age := r.GetCacheAge().AsDuration()
	if age == 0 {
		return ""
	}
	again := "at the next question"
	if left := r.GetCacheLeft().AsDuration(); left > 0 {
		again = "in " + left.Round(time.Second).String()
	}
	old := "less than a second"
	if age >= time.Second {
		old = age.Round(time.Second).String()
	}
	return fmt.Sprintf("  (from the cache: the oldest answer is %s old, DNS is asked again %s)", old, again)
}

func routeAsJSON(r *resolverv1.ResolveRouteResponse) routeJSON {
	out := routeJSON{
		Domain: r.GetDomain(), CanonicalDomain: r.GetCanonicalDomain(), Site: r.GetSite(), ImplicitMX: r.GetImplicitMx(),
		CacheAgeMS: r.GetCacheAge().AsDuration().Milliseconds(), CacheLeftMS: r.GetCacheLeft().AsDuration().Milliseconds(), Hosts: []routeHostJSON{},
		Warnings: append([]string{}, r.GetWarnings()...), Failure: failureAsJSON(r),
	}
	for _, h := range r.GetHosts() {
		out.Hosts = append(out.Hosts, routeHostJSON{
			Host: h.GetName(), Preference: h.GetPreference(), Addresses: append([]string{}, h.GetAddresses()...),
			TLS: tlsWord(h.GetTls()), TLSOrigin: h.GetTls().GetOrigin(), TLSFinding: h.GetTls().GetFinding(), Failure: failureAsJSON(h),
		})
	}
	return out
}

// failed is a route or a host.
type failed interface{ GetFailure() *eventv1.Failure }

func failureAsJSON(of failed) *routeFailure {
	f := of.GetFailure()
	if f == nil {
		return nil
	}
	return &routeFailure{Status: timeline.Enhanced(f.GetStatus()), Reason: f.GetReason(), Detail: f.GetDetail()}
}

// tlsCell is the policy and where it came from.
func tlsCell(p *resolverv1.TlsPolicy) string {
	if p.GetOrigin() == "" {
		return tlsWord(p)
	}
	return tlsWord(p) + " (" + p.GetOrigin() + ")"
}

// tlsWord is the policy of a host; one that was not found out, since the host has no address, is unknown.
func tlsWord(p *resolverv1.TlsPolicy) string {
	if p == nil {
		return "unknown"
	}
	switch p.GetKind() {
	case resolverv1.TlsPolicyKind_TLS_POLICY_KIND_REQUIRE:
		return "require"
	case resolverv1.TlsPolicyKind_TLS_POLICY_KIND_MTA_STS:
		return "mta-sts"
	case resolverv1.TlsPolicyKind_TLS_POLICY_KIND_DANE:
		return "dane"
	default:
		return "opportunistic"
	}
}
