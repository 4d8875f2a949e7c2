// SPDX-License-Identifier: Apache-2.0

package mxlookup

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// Target is a mail exchanger.
type Target struct {
	// Host is its name.
	Host string
	// Preference is the order; lower is tried first (RFC 5321, section 5.1).
	Preference uint16
}

// Exchanges are the mail exchangers of a domain.
type Exchanges struct {
	// Canonical is the name at the end of the domain's alias chain; "" when it is no alias.
	Canonical string
	// Implicit says that there is no MX and the domain itself is the only target.
	Implicit bool
	// Targets are in order of preference, each host once. Equal preferences are in the order of the answer.
	Targets []Target
	// Secure says that the MX set and its alias chain were validated.
	Secure bool
	// Failure says why there is no target; Targets is empty then.
	Failure *smtpreply.Error
	// Warnings are oddities that stopped nothing.
	Warnings []string
	// Life is how long all this holds. A temporary failure has none.
	Life dnsquery.Life
}

// MX looks up the mail exchangers of a domain. Without MX records it is the domain itself; with them the domain's own
// addresses are never used. The error is that of ctx.
func MX(ctx context.Context, dns dnsquery.Querier, domain string, fresh bool) (Exchanges, error) {
	q := dnsquery.Question{Name: domain, Type: dnsquery.TypeMX, Fresh: fresh}
	a, err := Follow(ctx, dns, q)
	if err != nil {
		if failure := Temporary(err, q); failure != nil {
			return Exchanges{Failure: failure, Life: dnsquery.Life{Ended: true}}, nil
		}
		return Exchanges{}, err
	}
	e := Exchanges{Secure: a.Secure, Life: a.Life}
	if a.Steps > 0 {
		e.Canonical = a.Name
	}
	switch {
	case a.NoName:
		e.Failure = final(smtpreply.ReasonNoSuchDomain, "The domain %s does not exist.", domain)
	case len(a.MX) == 0:
		e.Implicit = true
		e.Targets = []Target{{Host: domain}}
	case !slices.ContainsFunc(a.MX, func(mx dnsquery.MX) bool { return mx.Host != "" }):
		e.Failure = final(smtpreply.ReasonNullMX, "The domain %s says that it takes no mail (null MX).", domain)
	default:
		e.take(a.MX)
		if len(e.Targets) == 0 {
			e.Failure = final(smtpreply.ReasonMXInvalid, "No MX record of %s names a host.", domain)
		}
	}
	return e, nil
}

// take keeps the targets that are host names.
func (e *Exchanges) take(records []dnsquery.MX) {
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b dnsquery.MX) int { return cmp.Compare(a.Preference, b.Preference) })
	seen := make(map[string]struct{}, len(records))
	for _, mx := range records {
		if mx.Host == "" {
			e.warn("A null MX stands beside other MX records and was left out.")
			continue
		}
		if err := mailaddr.CheckHost(mx.Host); err != nil {
			e.warn("The MX target %s is no host name and was left out.", smtpreply.Clean(mx.Host))
			continue
		}
		if _, again := seen[mx.Host]; again {
			continue
		}
		seen[mx.Host] = struct{}{}
		e.Targets = append(e.Targets, Target{Host: mx.Host, Preference: mx.Preference})
	}
}

func (e *Exchanges) warn(format string, args ...any) {
	e.Warnings = append(e.Warnings, fmt.Sprintf(format, args...))
}

// final is a failure of the domain itself, whose status the reason gives.
func final(reason smtpreply.Reason, format string, args ...any) *smtpreply.Error {
	return &smtpreply.Error{Stage: smtpreply.StageResolve, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
