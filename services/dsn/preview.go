// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
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
}

// Preview returns the notifications an outcome would produce, or why there is none. INVALID_ARGUMENT: no notification
// can be made of the outcome; the field at fault is named.
func (p *previewer) Preview(_ context.Context, request *dsnv1.PreviewRequest) (*dsnv1.PreviewResponse, error) {
	outcome := request.GetOutcome()
	if outcome == nil {
		return nil, invalid("outcome", "must be given")
	}
	response := &dsnv1.PreviewResponse{}
	decisions := policy.Decide(outcome)
	if p.notifier != nil {
		decisions = p.notifier.Look(outcome, decisions, time.Now())
	}
	for _, d := range decisions {
		decision := &dsnv1.Decision{Kind: d.Kind.Proto(), Due: d.Due(), Reason: string(d.Reason)}
		for _, i := range d.Recipients {
			decision.Recipients = append(decision.Recipients, uint32(i))
		}
		if d.Due() {
			message, err := p.composer.Compose(report.Input{
				Outcome: outcome, Kind: d.Kind, Recipients: d.Recipients, Original: request.GetOriginal(), StoredAt: time.Now(),
			})
			if fault, ok := errors.AsType[*report.InputError](err); ok {
				return nil, invalid("outcome."+fault.Field, fault.Problem)
			}
			if err != nil {
				return nil, err
			}
			decision.EnvelopeRecipient, decision.Message = message.Recipient, message.Content
			decision.IdempotencyKey = d.Key(outcome.GetId())
		}
		response.Decisions = append(response.Decisions, decision)
	}
	return response, nil
}

// ReasonOutcome is the reason of a request whose outcome no notification can be made of.
const ReasonOutcome = "INVALID_OUTCOME"

func invalid(field, problem string) error {
	return &rpc.Error{
		Code: codes.InvalidArgument, Reason: ReasonOutcome, Message: "no notification can be made of this outcome",
		Fields: []rpc.Field{{Field: field, Description: problem}},
	}
}
