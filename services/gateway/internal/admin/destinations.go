// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/postrider/postrider/kit/changes"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const (
	defaultPage = 50
	maxPage     = 1000
)

// Destinations returns what waits for each destination, the fullest first, and those that are suspended. A page begins
// behind the number and name that end the one before, so that a destination may show twice, or not, when its mail comes
// or goes in between.
func (d *Desk) Destinations(ctx context.Context, in *gatewayv1.ListDestinationsRequest) (*gatewayv1.ListDestinationsResponse, error) {
	size := int(in.GetPageSize())
	if size < 0 {
		return nil, invalid(ReasonPage, "the page is not valid", rpc.Field{Field: "page_size", Description: "must not be negative"})
	}
	if size == 0 {
		size = defaultPage
	}
	size = min(size, maxPage)
	after, err := parseToken(in.GetPageToken())
	if err != nil {
		return nil, err
	}
	list, err := d.destinations(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, fullestFirst)
	if after != nil {
		list = slices.DeleteFunc(list, func(x *gatewayv1.Destination) bool { return fullestFirst(x, after) <= 0 })
	}
	answer := &gatewayv1.ListDestinationsResponse{Destinations: list}
	if len(list) > size {
		answer.Destinations = list[:size]
		answer.NextPageToken = token(list[size-1])
	}
	return answer, nil
}

func fullestFirst(a, b *gatewayv1.Destination) int {
	return cmp.Or(cmp.Compare(b.GetWaiting(), a.GetWaiting()), strings.Compare(a.GetDomain(), b.GetDomain()))
}

// destinations joins what waits with what is suspended.
func (d *Desk) destinations(ctx context.Context) ([]*gatewayv1.Destination, error) {
	waiting, err := d.View.Waiting(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.current(ctx); err != nil {
		return nil, err
	}
	known := make(map[string]bool)
	var list []*gatewayv1.Destination
	add := func(x *gatewayv1.Destination) {
		known[x.GetDomain()] = true
		if by := d.Mirror.Standing(changes.Mail{Destination: x.GetDomain()}).Suspended; by != nil {
			x.SuspendedAt, x.SuspendedBy = by.GetCreatedAt(), by.GetActor()
		}
		list = append(list, x)
	}
	for _, w := range waiting {
		x := &gatewayv1.Destination{Domain: w.Destination, Waiting: w.Recipients}
		if !w.Since.IsZero() {
			x.Oldest = durationpb.New(max(0, d.Now().Sub(w.Since)))
		}
		add(x)
	}
	for _, e := range d.Mirror.List() {
		if e.GetAction() != eventv1.ChangeAction_CHANGE_ACTION_SUSPEND {
			continue
		}
		for _, domain := range e.GetDestinations() {
			if !known[domain] && d.Mirror.Standing(changes.Mail{Destination: domain}).Suspended != nil {
				add(&gatewayv1.Destination{Domain: domain})
			}
		}
	}
	return list, nil
}

func token(x *gatewayv1.Destination) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", x.GetWaiting(), x.GetDomain()))
}

func parseToken(text string) (*gatewayv1.Destination, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // the first page
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	number, domain, found := strings.Cut(string(raw), " ")
	waiting, numberErr := strconv.ParseUint(number, 10, 64)
	if err != nil || !found || numberErr != nil {
		return nil, invalid(ReasonPage, "the page is not valid", rpc.Field{
			Field: "page_token", Description: "must be the token of the last answer",
		})
	}
	return &gatewayv1.Destination{Domain: domain, Waiting: waiting}, nil
}

func fieldAt(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }
