// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/lookup"
	"github.com/postrider/postrider/services/dsn/internal/notify"
	"github.com/postrider/postrider/services/dsn/internal/policy"
	"github.com/postrider/postrider/services/dsn/internal/report"
)

// previewer answers what an outcome would produce. It is the same decision and the same report, handed to the caller
// instead of the gateway.
type previewer struct {
	dsnv1.UnimplementedDsnServiceServer
	composer report.Composer
	notifier *notify.Notifier
	js       jetstream.JetStream
}

// Preview returns the notifications an outcome would produce, or why there is none. The outcome is given, or looked up.
// INVALID_ARGUMENT: no notification can be made of the outcome, or the id is none; the field at fault is named.
// NOT_FOUND: no outcome of this id is kept.
func (p *previewer) Preview(ctx context.Context, request *dsnv1.PreviewRequest) (*dsnv1.PreviewResponse, error) {
	outcome := request.GetOutcome()
	switch {
	case outcome == nil && request.GetId() == "":
		return nil, invalid("outcome", "must be given, or an id")
	case outcome != nil && request.GetId() != "":
		return nil, invalid("id", "must not be given together with an outcome")
	case outcome == nil:
		return p.stored(ctx, request.GetId())
	}
	decisions := p.notifier.Look(outcome, policy.Decide(outcome), time.Now())
	response := &dsnv1.PreviewResponse{}
	err := p.preview(response, lookup.Found{Outcome: outcome, Original: request.GetOriginal(), StoredAt: time.Now()}, decisions)
	if fault, ok := errors.AsType[*report.InputError](err); ok {
		return nil, invalid("outcome."+fault.Field, fault.Problem)
	}
	if err != nil {
		return nil, err
	}
	return response, nil
}

// stored previews what was stored. An outcome no notification can be made of is none that is due.
func (p *previewer) stored(ctx context.Context, id string) (*dsnv1.PreviewResponse, error) {
	found, valid, err := lookup.Outcomes(ctx, p.js, id)
	switch {
	case !valid:
		return nil, invalid("id", "must be the id of a message or of an outcome")
	case err != nil:
		return nil, &rpc.Error{Code: codes.Unavailable, Reason: ReasonStore, Message: "the queue's store does not answer", Err: err}
	case len(found) == 0:
		return nil, &rpc.Error{
			Code: codes.NotFound, Reason: ReasonNoOutcome,
			Message: "no outcome of this id is kept: there is no such message, its first attempt has no outcome yet, or it is too long ago",
		}
	}
	response := &dsnv1.PreviewResponse{}
	for _, f := range found {
		err := p.preview(response, f, waiting(policy.Decide(f.Outcome), f.Waiting))
		if fault, ok := errors.AsType[*report.InputError](err); ok {
			response.Decisions = append(response.Decisions, &dsnv1.Decision{
				Reason: reasonImpossible + ": " + fault.Field, OutcomeId: f.Outcome.GetId(), DecidedAt: f.Outcome.GetDecidedAt(),
			})
		} else if err != nil {
			return nil, err
		}
	}
	return response, nil
}

// waiting divides decisions into what was sent and what waits to be told in a list.
func waiting(decisions []policy.Decision, joined map[string][]int) []policy.Decision {
	all := make([]policy.Decision, 0, len(decisions))
	for _, d := range decisions {
		waits := joined[string(d.Kind)]
		all = append(all, d.Divide(func(at int) bool { return slices.Contains(waits, d.Recipients[at]) })...)
	}
	return all
}

// preview adds the decisions about an outcome to a response.
func (p *previewer) preview(response *dsnv1.PreviewResponse, f lookup.Found, decisions []policy.Decision) error {
	for _, d := range decisions {
		decision := &dsnv1.Decision{
			Kind: d.Kind.Proto(), Due: d.Due(), Reason: string(d.Reason),
			OutcomeId: f.Outcome.GetId(), DecidedAt: f.Outcome.GetDecidedAt(), Addresses: addresses(f.Outcome, d),
		}
		for _, i := range d.Recipients {
			decision.Recipients = append(decision.Recipients, uint32(i))
		}
		if d.Due() {
			message, err := p.composer.Compose(report.Input{
				Outcome: f.Outcome, Kind: d.Kind, Recipients: d.Recipients, Original: f.Original, StoredAt: f.StoredAt,
			})
			if err != nil {
				return err
			}
			decision.EnvelopeRecipient, decision.Message = message.Recipient, message.Content
			decision.IdempotencyKey = d.Key(f.Outcome.GetId())
		}
		response.Decisions = append(response.Decisions, decision)
	}
	return nil
}

func addresses(o *eventv1.Outcome, d policy.Decision) []string {
	all := make([]string, 0, len(d.Recipients))
	for _, i := range d.Recipients {
		all = append(all, o.GetResults()[i].GetRecipient().GetAddress())
	}
	return all
}

// Reasons of Preview's errors.
const (
	// ReasonOutcome is a request whose outcome no notification can be made of, or whose id is none.
	ReasonOutcome = "INVALID_OUTCOME"
	// ReasonNoOutcome is an id of which no outcome is kept.
	ReasonNoOutcome = "OUTCOME_NOT_FOUND"
	// reasonImpossible is a stored outcome no notification can be made of, with the field at fault.
	reasonImpossible = "impossible"
	// ReasonStore is a store that does not answer.
	ReasonStore = "STORE_UNAVAILABLE"
)

func invalid(field, problem string) error {
	return &rpc.Error{
		Code: codes.InvalidArgument, Reason: ReasonOutcome, Message: "no notification can be made of this outcome",
		Fields: []rpc.Field{{Field: field, Description: problem}},
	}
}
