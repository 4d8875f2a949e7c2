// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/mxlookup"
	"github.com/postrider/postrider/services/resolver/internal/tlspolicy"
)

// build makes a route. The error is that of ctx.
func (r *Router) build(ctx context.Context, d destination, fresh bool) (*draft, error) {
	out := &draft{}
	ex, err := r.exchanges(ctx, d, fresh)
	if err != nil {
		return nil, err
	}
	out.canonical, out.implicit, out.warnings, out.life = ex.Canonical, ex.Implicit, ex.Warnings, ex.Life
	if ex.Failure != nil {
		out.fail(ex.Failure, d)
		return out, nil
	}
	if len(ex.Targets) > together {
		r.shuffle(ex.Targets)
	}
	s, err := r.surveyFor(ctx, ex.Targets, d, fresh)
	if err != nil {
		return nil, err
	}
	out.life.Join(s.life)
	out.life.Ended = out.life.Ended || len(ex.Targets) > together
	out.site = siteOf(below(ex.Targets, s.limit), d)
	if s.self != "" {
		out.warn("%s is ourselves: it and all MX hosts of the same or a lower priority were left out.", s.self)
	}
	if failure := s.verdict(ex.Implicit || d.direct || d.addr.IsValid(), d); failure != nil {
		out.fail(failure, d)
		return out, nil
	}
	return out, r.addHosts(ctx, out, s, ex, d, fresh)
}

// exchanges are the targets a destination has before any address is looked up.
func (r *Router) exchanges(ctx context.Context, d destination, fresh bool) (mxlookup.Exchanges, error) {
	switch {
	case d.addr.IsValid():
		return mxlookup.Exchanges{Targets: []mxlookup.Target{{}}}, nil
	case d.direct:
		return mxlookup.Exchanges{Targets: []mxlookup.Target{{Host: d.name}}, Secure: true}, nil
	default:
		return mxlookup.MX(ctx, r.o.DNS, d.name, fresh)
	}
}

// surveyFor is survey, or the address itself for a literal.
func (r *Router) surveyFor(ctx context.Context, targets []mxlookup.Target, d destination, fresh bool) (surveyed, error) {
	if !d.addr.IsValid() {
		return r.survey(ctx, targets, d, fresh)
	}
	h := host{}
	if d.addr.Is4() {
		h.found.V4 = []netip.Addr{d.addr}
	} else {
		h.found.V6 = []netip.Addr{d.addr}
	}
	r.judge(&h, d)
	s := surveyed{limit: none}
	if s.take([]host{h}) {
		s.self = d.domain
	}
	return s, nil
}

// verdict says why no host can be used; nil when one can.
func (s *surveyed) verdict(implicit bool, d destination) *smtpreply.Error {
	if s.usable > 0 {
		return nil
	}
	if len(s.hosts) == 0 {
		return verdict(smtpreply.ReasonMXSelf, "The best mail host of %s is ourselves: the mail would go in a circle.", d.shown())
	}
	special := ""
	for i := range s.hosts {
		if s.hosts[i].failure != nil {
			return s.hosts[i].failure
		}
		if s.hosts[i].special != "" {
			special = s.hosts[i].special
		}
	}
	switch {
	case s.more:
		return verdict(smtpreply.ReasonDNSTemp, "None of the first %d MX hosts of %s has a usable address.", len(s.hosts), d.shown())
	case special != "":
		return verdict(smtpreply.ReasonSpecialAddress, "The mail hosts of %s have no address on the Internet, only %s ones.", d.shown(), special)
	case implicit:
		return verdict(smtpreply.ReasonNoAddress, "%s has neither a mail host (MX) nor an address.", d.shown())
	default:
		return verdict(smtpreply.ReasonMXNoAddress, "None of the MX hosts of %s has an address.", d.shown())
	}
}

// addHosts adds the hosts and their policies.
func (r *Router) addHosts(ctx context.Context, out *draft, s surveyed, ex mxlookup.Exchanges, d destination, fresh bool) error {
	request := tlspolicy.Request{Domain: d.policyDomain(), Canonical: ex.Canonical, MXSecure: ex.Secure, Fresh: fresh}
	for i := range s.hosts {
		h := &s.hosts[i]
		out.warnings = append(out.warnings, h.found.Warnings(h.Host, !ex.Implicit && !d.direct)...)
		if h.usable() {
			request.Hosts = append(request.Hosts, tlspolicy.Host{
				Name: h.Host, Canonical: h.found.Canonical, Secure: h.found.Secure, Port: r.port(d),
			})
		}
	}
	policies, err := r.policies(ctx, request, d)
	if err != nil {
		return err
	}
	out.life.Join(policies.Life)
	out.warnings = append(out.warnings, policies.Warnings...)
	usable := 0
	for i := range s.hosts {
		h := &s.hosts[i]
		entry := hop{name: h.Host, preference: h.Preference, port: d.port}
		switch {
		case h.usable():
			policy := policies.Policies[0]
			policies.Policies = policies.Policies[1:]
			entry.addrs, entry.tls = texts(h.addrs), policy.TLS
			if policy.Failure != nil {
				entry.failure = policy.Failure.Proto()
				out.forbidden = entry.failure
			} else {
				usable++
			}
		case h.failure != nil:
			entry.failure = h.failure.Proto()
		default:
			out.warn("%s %s and was left out.", h.Host, h.without())
			continue
		}
		out.hops = append(out.hops, entry)
	}
	if usable > 0 {
		out.forbidden = nil
	}
	out.shared = out.sharesAddresses()
	return nil
}

func (r *Router) policies(ctx context.Context, request tlspolicy.Request, d destination) (tlspolicy.Result, error) {
	if d.addr.IsValid() {
		return tlspolicy.Opportunistic{}.Policies(ctx, request)
	}
	return r.o.TLS.Policies(ctx, request)
}

func (r *Router) port(d destination) uint16 {
	if d.port != 0 {
		return d.port
	}
	return r.o.Port
}

func (h *host) without() string {
	if h.special != "" {
		return "has only a " + h.special + " address"
	}
	return "has no address"
}

func texts(addrs []netip.Addr) []string {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	return all
}

// shown is the destination in a sentence.
func (d destination) shown() string {
	switch {
	case !d.smart:
		return d.domain
	case d.addr.IsValid():
		return "the smarthost " + mailaddr.Literal(d.addr)
	default:
		return "the smarthost " + d.name
	}
}

// policyDomain is the domain whose MTA-STS policy counts: with a smarthost its own (RFC 8461, section 3.4).
func (d destination) policyDomain() string {
	if d.addr.IsValid() || d.direct {
		return ""
	}
	return d.name
}

// siteOf names the site of the targets that are left.
func siteOf(targets []mxlookup.Target, d destination) string {
	name := site(targets)
	switch {
	case d.addr.IsValid():
		name = mailaddr.Literal(d.addr)
	case d.direct:
		name = "[" + d.name + "]"
	}
	if d.port != 0 && name != "" {
		name += ":" + strconv.Itoa(int(d.port))
	}
	return name
}

func (o *draft) warn(format string, args ...any) {
	o.warnings = append(o.warnings, fmt.Sprintf(format, args...))
}

// fail makes it a route without hosts. What is wrong with a smarthost is our configuration: the mail waits for it.
func (o *draft) fail(failure *smtpreply.Error, d destination) {
	if d.smart && !failure.Temporary() {
		copied := *failure
		copied.Status = failure.RecordedStatus().WithClass(4)
		failure = &copied
	}
	o.failure = failure.Proto()
	lookup, ok := errors.AsType[*dnsquery.Failure](failure.Err)
	if !ok {
		return
	}
	// Which server failed is for the operator, not for the sender of the mail: it stands beside the failure.
	for _, s := range lookup.Servers {
		lately := ""
		if s.Remembered {
			lately = ", a moment ago"
		}
		o.warn("The DNS server %s failed the question %s: %s%s.", s.Server, lookup.Question, s.Result, lately)
	}
}
