// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/changes"
	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// Reasons of requests that are not in order.
const (
	// ReasonSelection is a selection that names no mail, or names it wrongly.
	ReasonSelection = "INVALID_SELECTION"
	// ReasonDomain is a domain that is none.
	ReasonDomain = "INVALID_DOMAIN"
	// ReasonPage is a page size or token that is not valid.
	ReasonPage = "INVALID_PAGE"
	// ReasonText is a reason for a suspension that is too long.
	ReasonText = "INVALID_REASON"
)

const (
	maxSelected = 1000
	maxReason   = 200
	// maxFaults bounds how many faults of a selection are listed.
	maxFaults = 20
)

func invalid(reason, message string, fields ...rpc.Field) *rpc.Error {
	return &rpc.Error{Code: codes.InvalidArgument, Reason: reason, Message: message, Fields: fields}
}

// selected is a checked selection: one of the two lists, sorted and without repetition.
type selected struct{ messages, destinations []string }

// meets reports whether a change may mean some of what is selected.
func (s selected) meets(c *eventv1.Change) bool {
	if (len(s.messages) > 0) != (len(c.GetMessageIds()) > 0) {
		return true // messages and destinations: it cannot be told from here
	}
	all := slices.Contains(s.destinations, changes.Everything) || slices.Contains(c.GetDestinations(), changes.Everything)
	return all || slices.ContainsFunc(s.messages, func(id string) bool { return slices.Contains(c.GetMessageIds(), id) }) ||
		slices.ContainsFunc(s.destinations, func(d string) bool { return slices.Contains(c.GetDestinations(), d) })
}

// checkSelection returns what a selection names, or an error with every fault of it.
func checkSelection(in *gatewayv1.Selection) (selected, error) {
	ids, domains := in.GetMessageIds(), in.GetDestinations()
	switch {
	case len(ids) == 0 && len(domains) == 0:
		return selected{}, invalid(ReasonSelection, "the selection is empty", rpc.Field{
			Field: "selection", Description: "must name messages by message_ids or domains by destinations",
		})
	case len(ids) > 0 && len(domains) > 0:
		return selected{}, invalid(ReasonSelection, "the selection is ambiguous", rpc.Field{
			Field: "selection", Description: "must have message_ids or destinations, not both",
		})
	}
	var out selected
	var faults []rpc.Field
	out.messages, faults = checked("selection.message_ids", ids, faults, messageID)
	out.destinations, faults = checked("selection.destinations", domains, faults, destination)
	if len(faults) > 0 {
		return selected{}, invalid(ReasonSelection, "the selection is not valid", faults[:min(len(faults), maxFaults)]...)
	}
	return out, nil
}

func checked(field string, list []string, faults []rpc.Field, check func(string) (string, string)) ([]string, []rpc.Field) {
	if len(list) > maxSelected {
		return nil, append(faults, rpc.Field{Field: field, Description: fmt.Sprintf("has %d entries, at most %d", len(list), maxSelected)})
	}
	var out []string
	for i, text := range list {
		value, fault := check(text)
		if fault != "" {
			faults = append(faults, rpc.Field{Field: fieldAt(field, i), Description: fault})
			continue
		}
		out = append(out, value)
	}
	slices.Sort(out)
	return slices.Compact(out), faults
}

func messageID(text string) (value, fault string) {
	id, err := ulid.ParseStrict(text)
	if err != nil {
		return "", "must be a ULID of 26 characters"
	}
	return id.String(), ""
}

// destination returns a domain as it stands in records: lower-case A-labels, or an address literal.
func destination(text string) (value, fault string) {
	if text == changes.Everything {
		return text, ""
	}
	if literal, ok := mailaddr.ParseLiteral(text); ok {
		return mailaddr.Literal(literal), ""
	}
	ascii, err := mailaddr.ToASCII(text)
	if err != nil || ascii == "" {
		return "", `must be a domain, an address literal, or "*" for all`
	}
	return strings.ToLower(ascii), ""
}

func checkDomain(text string) (string, error) {
	domain, fault := destination(text)
	if fault != "" {
		return "", invalid(ReasonDomain, "the domain is not valid", rpc.Field{Field: "domain", Description: fault})
	}
	return domain, nil
}
