// SPDX-License-Identifier: Apache-2.0

package mxlookup

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// Addresses are what A and AAAA of a host came to.
type Addresses struct {
	// V6 and V4 are in the order of the answers; v4-mapped ones are among V4.
	V6, V4 []netip.Addr
	// Canonical is the name at the end of the host's alias chain; "" when it is no alias.
	Canonical string
	// Secure says that all that was found was validated.
	Secure bool
	// Failure is the temporary failure of one family or both; what was found may be used all the same.
	Failure *smtpreply.Error
	// Life is how long this holds. With a Failure it has ended.
	Life dnsquery.Life
}

// Warnings are oddities of a host that stopped nothing. mx says that it stands in an MX record, where an alias is
// forbidden (RFC 2181, section 10.3; R-14).
func (a *Addresses) Warnings(host string, mx bool) []string {
	var all []string
	if mx && a.Canonical != "" {
		all = append(all, fmt.Sprintf("The MX target %s is an alias (CNAME), which RFC 2181 forbids.", host))
	}
	if a.Failure != nil && len(a.V4)+len(a.V6) > 0 {
		all = append(all, "Not all addresses were found. "+a.Failure.Detail)
	}
	return all
}

// Lookup asks for both families of addresses of a host at once. They are always asked for themselves, never taken from
// the additional section of the MX answer. The error is that of ctx.
func Lookup(ctx context.Context, dns dnsquery.Querier, host string, fresh bool) (Addresses, error) {
	type family struct {
		Result
		err error
	}
	ask := func(t dnsquery.Type) family {
		r, err := Follow(ctx, dns, dnsquery.Question{Name: host, Type: t, Fresh: fresh})
		return family{r, err}
	}
	second := make(chan family, 1)
	go func() { second <- ask(dnsquery.TypeAAAA) }()
	v4 := ask(dnsquery.TypeA)
	v6 := <-second

	a := Addresses{Secure: true}
	for _, f := range []struct {
		family
		typ dnsquery.Type
	}{{v6, dnsquery.TypeAAAA}, {v4, dnsquery.TypeA}} {
		if f.err != nil {
			failure := Temporary(f.err, dnsquery.Question{Name: host, Type: f.typ})
			if failure == nil {
				return Addresses{}, f.err
			}
			a.Failure = failure
			continue
		}
		a.add(f.Result)
	}
	a.Secure = a.Secure && len(a.V4)+len(a.V6) > 0
	a.Life.Ended = a.Failure != nil
	return a, nil
}

func (a *Addresses) add(r Result) {
	a.Life.Join(r.Life)
	a.Secure = a.Secure && r.Secure
	if r.Steps > 0 {
		a.Canonical = r.Name
	}
	for _, addr := range r.Addrs {
		addr = addr.Unmap()
		list := &a.V6
		if addr.Is4() {
			list = &a.V4
		}
		if !slices.Contains(*list, addr) {
			*list = append(*list, addr)
		}
	}
}
