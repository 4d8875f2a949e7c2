// SPDX-License-Identifier: Apache-2.0

// Package dane finds the TLSA records that authenticate a mail host: RFC 6698, RFC 7671, and RFC 7672 for SMTP (R-41 to
//
//
// It owns where the records are looked for, which of them can be used, and what their absence or failure means. Nothing
// is looked for unless the MX set and the host's addresses were validated, and an answer that was not validated is none.
package dane

import (
	"context"
	"fmt"
	"slices"

	"github.com/postrider/postrider/kit/smtpreply"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/mxlookup"
)

// Host is a mail host whose MX set and addresses are secure.
type Host struct {
	// Name is the host as it stands in the MX record, Canonical the end of its secure alias chain, "" without one.
	Name, Canonical string
	// Port is the TCP port.
	Port uint16
	// Names are what a certificate under usage 2 may carry beside the base name: the recipient domain and the end of
	// its alias chain (RFC 7672, section 3.2.2).
	Names []string
}

// Finding is what was found for a host.
type Finding struct {
	// Policy is DANE, or REQUIRE when there are records but none can be used; nil when the host has no DANE. With a
	// Failure it is DANE without records.
	Policy *resolverv1.TlsPolicy
	// Failure says that the host cannot be used in this attempt, since its records could not be had.
	Failure *smtpreply.Error
	// Life covers the answers used.
	Life dnsquery.Life
}

// Find looks for the TLSA records of a host, first under the end of its alias chain, then under its name in the MX
// record (RFC 7672, section 2.2.2). The error is that of ctx.
func Find(ctx context.Context, dns dnsquery.Querier, h Host, fresh bool) (Finding, error) {
	var f Finding
	for _, base := range []string{h.Canonical, h.Name} {
		if base == "" {
			continue
		}
		owner := fmt.Sprintf("_%d._tcp.%s", h.Port, base)
		q := dnsquery.Question{Name: owner, Type: dnsquery.TypeTLSA, Fresh: fresh}
		answer, err := mxlookup.Follow(ctx, dns, q)
		if err != nil {
			cause := mxlookup.Temporary(err, q)
			if cause == nil {
				return Finding{}, err
			}
			f.Failure = unavailable(owner, cause)
			// A policy nobody can meet: without the records nothing may pass for DANE.
			f.Policy = &resolverv1.TlsPolicy{Kind: resolverv1.TlsPolicyKind_TLS_POLICY_KIND_DANE, Origin: origin(owner), Sni: base}
			f.Life.Ended = true
			return f, nil
		}
		f.Life.Join(answer.Life)
		if answer.Secure && len(answer.TLSA()) > 0 {
			f.Policy = policy(h, base, owner, answer.TLSA())
			return f, nil
		}
	}
	return f, nil
}

func unavailable(owner string, cause *smtpreply.Error) *smtpreply.Error {
	return &smtpreply.Error{
		Stage: smtpreply.StageResolve, Reason: smtpreply.ReasonTLSALookup, Err: cause.Err,
		Detail: fmt.Sprintf("The domain is signed, but the TLSA records of %s could not be had; without them the host must not be used.", owner),
	}
}

func origin(owner string) string { return "TLSA " + owner }

// policy is DANE by the records that can be used. When none can, TLS is still required, but nothing can be checked
// (RFC 7672, section 2.2; R-44).
func policy(h Host, base, owner string, records []dnsquery.TLSA) *resolverv1.TlsPolicy {
	p := &resolverv1.TlsPolicy{Kind: resolverv1.TlsPolicyKind_TLS_POLICY_KIND_DANE, Origin: origin(owner), Sni: base}
	for _, r := range records {
		if usable(r) {
			p.Tlsa = append(p.Tlsa, &resolverv1.TlsaRecord{
				Usage: uint32(r.Usage), Selector: uint32(r.Selector), MatchingType: uint32(r.MatchingType), Data: r.Data,
			})
		}
	}
	if len(p.GetTlsa()) == 0 {
		p.Kind = resolverv1.TlsPolicyKind_TLS_POLICY_KIND_REQUIRE
		p.Finding = fmt.Sprintf("None of the %d TLSA records of %s can be used.", len(records), owner)
		return p
	}
	p.ReferenceNames = []string{base}
	for _, name := range h.Names {
		if name != "" && !slices.Contains(p.GetReferenceNames(), name) {
			p.ReferenceNames = append(p.ReferenceNames, name)
		}
	}
	return p
}

// Values of RFC 6698, section 7, that SMTP uses.
const (
	usageTA, usageEE         = 2, 3
	wholeCert, publicKey     = 0, 1
	exact, sha2256, sha2512  = 0, 1, 2
	sha2256Size, sha2512Size = 32, 64
)

// usable reports a record SMTP can work with (RFC 7672, section 3.1; R-43).
func usable(r dnsquery.TLSA) bool {
	if r.Usage != usageTA && r.Usage != usageEE || r.Selector != wholeCert && r.Selector != publicKey {
		return false
	}
	switch r.MatchingType {
	case exact:
		return len(r.Data) > 0
	case sha2256:
		return len(r.Data) == sha2256Size
	case sha2512:
		return len(r.Data) == sha2512Size
	default:
		return false
	}
}
