// SPDX-License-Identifier: Apache-2.0

package tlspolicy

import (
	"context"
	"fmt"
	"sync"

	"github.com/postrider/postrider/kit/smtpreply"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/resolver/internal/dane"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/mtasts"
)

// Published is the Source of what domains publish: DANE before MTA-STS (RFC 8461, section 2).
type Published struct {
	dns   dnsquery.Querier
	sts   *mtasts.Finder
	plain *resolverv1.TlsPolicy // for all hosts without a policy
}

// NewPublished returns a Published. dns answers the TLSA questions, sts finds MTA-STS policies.
func NewPublished(dns dnsquery.Querier, sts *mtasts.Finder) *Published {
	return &Published{dns: dns, sts: sts, plain: opportunistic()}
}

// Policies implements Source.
func (p *Published) Policies(ctx context.Context, r Request) (Result, error) {
	out := Result{Policies: make([]Policy, len(r.Hosts))}
	if err := p.dane(ctx, r, &out); err != nil {
		return Result{}, err
	}
	if r.Domain == "" {
		out.fill(p.plain)
		return out, nil
	}
	finding, err := p.sts.Find(ctx, r.Domain, r.Fresh, false)
	if err != nil {
		return Result{}, err
	}
	decided := out.Policies
	out.Policies = sts(decided, r, finding)
	if allMismatch(out.Policies) {
		// Before a whole domain is cut off, its policy is asked for once more (RFC 8461, section 5.1; R-48).
		if finding, err = p.sts.Find(ctx, r.Domain, r.Fresh, true); err != nil {
			return Result{}, err
		}
		out.Policies = sts(decided, r, finding)
	}
	out.Life.Join(finding.Life)
	if finding.Note != "" {
		out.Warnings = append(out.Warnings, finding.Note)
	}
	out.fill(p.plain)
	return out, nil
}

// dane looks for TLSA records of the hosts that may have them, all at once.
func (p *Published) dane(ctx context.Context, r Request, out *Result) error {
	if !r.MXSecure {
		return nil
	}
	findings := make([]dane.Finding, len(r.Hosts))
	errs := make([]error, len(r.Hosts))
	var wg sync.WaitGroup
	for i, h := range r.Hosts {
		if !h.Secure || h.Name == "" {
			continue
		}
		wg.Go(func() {
			host := dane.Host{Name: h.Name, Canonical: h.Canonical, Port: h.Port, Names: []string{r.Domain, r.Canonical}}
			findings[i], errs[i] = dane.Find(ctx, p.dns, host, r.Fresh)
		})
	}
	wg.Wait()
	for i, f := range findings {
		if errs[i] != nil {
			return errs[i]
		}
		out.Policies[i] = Policy{TLS: f.Policy, Failure: f.Failure}
		out.Life.Join(f.Life)
	}
	return nil
}

// sts applies what was found of MTA-STS to the hosts that DANE does not decide.
func sts(decided []Policy, r Request, f mtasts.Finding) []Policy {
	all := make([]Policy, len(decided))
	copy(all, decided)
	if f.Entry == nil {
		for i := range all {
			if all[i].TLS == nil && f.Note != "" {
				all[i].TLS = opportunistic()
				all[i].TLS.Finding = f.Note
			}
		}
		return all
	}
	for i := range all {
		if all[i].TLS.GetKind() == resolverv1.TlsPolicyKind_TLS_POLICY_KIND_DANE || all[i].Failure != nil {
			continue
		}
		found, some := forHost(f.Entry, r.Hosts[i].Name)
		if some && (all[i].TLS == nil || f.Entry.Policy.Mode == mtasts.Enforce) {
			all[i] = found
		}
	}
	return all
}

// forHost is what a policy means for a host; some is false when it means nothing.
func forHost(e *mtasts.Entry, host string) (found Policy, some bool) {
	allowed := e.Policy.Allows(host)
	origin := "mta-sts policy id " + e.ID
	switch e.Policy.Mode {
	case mtasts.Enforce:
		found.TLS = &resolverv1.TlsPolicy{Kind: resolverv1.TlsPolicyKind_TLS_POLICY_KIND_MTA_STS, Origin: origin}
		if !allowed {
			found.Failure = &smtpreply.Error{
				Stage: smtpreply.StageResolve, Reason: smtpreply.ReasonMTASTSMismatch,
				Detail: fmt.Sprintf("The MTA-STS policy of the domain does not name the host %s.", host),
			}
		}
		return found, true
	case mtasts.Testing:
		found.TLS = opportunistic()
		found.TLS.Origin = origin + " (testing)"
		if !allowed {
			found.TLS.Finding = fmt.Sprintf("The MTA-STS policy of the domain, which is being tested, does not name the host %s.", host)
		}
		return found, true
	default:
		return Policy{}, false
	}
}

func allMismatch(all []Policy) bool {
	for _, p := range all {
		if p.Failure == nil || p.Failure.Reason != smtpreply.ReasonMTASTSMismatch {
			return false
		}
	}
	return len(all) > 0
}

func opportunistic() *resolverv1.TlsPolicy {
	return &resolverv1.TlsPolicy{Kind: resolverv1.TlsPolicyKind_TLS_POLICY_KIND_OPPORTUNISTIC}
}

// fill gives plain to the hosts that nothing decided.
func (r *Result) fill(plain *resolverv1.TlsPolicy) {
	for i := range r.Policies {
		if r.Policies[i].TLS == nil {
			r.Policies[i].TLS = plain
		}
	}
}
