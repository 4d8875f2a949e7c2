// SPDX-License-Identifier: Apache-2.0

package mxlookup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// Result is an answer at the end of an alias chain.
type Result struct {
	// Answer is the last one.
	*dnsquery.Answer
	// Steps is the number of aliases of the whole chain.
	Steps int
	// Secure says that all answers of the chain were validated.
	Secure bool
	// Life covers all answers of the chain.
	Life dnsquery.Life
}

// Follow asks a question and follows aliases to their end, also where a server gives only part of the chain. A chain
// that loops or has more than dnsquery.MaxAliases steps is a *dnsquery.Failure.
func Follow(ctx context.Context, dns dnsquery.Querier, q dnsquery.Question) (Result, error) {
	r := Result{Secure: true}
	first := q
	names := make([]string, 0, 4)
	for {
		a, err := dns.Query(ctx, q)
		if err != nil {
			return Result{}, err
		}
		r.Answer = a
		r.Steps += int(a.Steps)
		r.Secure = r.Secure && a.Secure
		r.Life.Add(a)
		names = append(names, q.Name)
		if !a.Open {
			break
		}
		if slices.Contains(names, a.Name) || a.Steps == 0 {
			return Result{}, &dnsquery.Failure{Question: first, Kind: dnsquery.Loop}
		}
		q.Name = a.Name
	}
	if r.Steps > dnsquery.MaxAliases {
		return Result{}, &dnsquery.Failure{Question: first, Kind: dnsquery.Loop}
	}
	return r, nil
}

// Temporary is the failure for the mail when a question about name had no answer. An error that is no
// *dnsquery.Failure, such as that of a context, gives nil.
func Temporary(err error, q dnsquery.Question) *smtpreply.Error {
	failure, ok := errors.AsType[*dnsquery.Failure](err)
	if !ok {
		return nil
	}
	e := &smtpreply.Error{Stage: smtpreply.StageResolve, Err: err}
	switch failure.Kind {
	case dnsquery.Loop:
		e.Reason = smtpreply.ReasonCNAMELoop
		e.Detail = fmt.Sprintf("The aliases (CNAME) of %s lead in a circle, or are more than %d.", q.Name, dnsquery.MaxAliases)
	case dnsquery.TCPBlocked:
		e.Reason = smtpreply.ReasonDNSTCPBlocked
		e.Detail = fmt.Sprintf("The %s records of %s are too many for UDP, and no DNS server could be asked over TCP.", q.Type, q.Name)
	case dnsquery.Bogus:
		e.Reason = smtpreply.ReasonDNSBogus
		e.Detail = fmt.Sprintf("The %s records of %s do not pass DNSSEC validation.", q.Type, q.Name)
	default:
		e.Reason = smtpreply.ReasonDNSTemp
		e.Detail = fmt.Sprintf("No DNS server gave a usable answer for the %s records of %s.", q.Type, q.Name)
	}
	return e
}
