// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/telemetry"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// outcome is what the attempt settles: all of it but what only the queue knows.
func (r *run) outcome(ctx context.Context) *eventv1.Outcome {
	now := time.Now()
	rec, envelope := r.rec, r.rec.GetEnvelope()
	o := &eventv1.Outcome{
		Id:        fmt.Sprintf("%s.%d.%d", rec.GetMessageId(), rec.GetPart(), r.job.Number),
		MessageId: rec.GetMessageId(), Part: rec.GetPart(), Parts: rec.GetParts(), Hop: rec.GetHop(),
		EnvelopeSender: envelope.GetSender(), Ret: envelope.GetRet(), Envid: envelope.GetEnvid(),
		RequireTls: envelope.GetRequireTls(), Smtputf8: envelope.GetSmtputf8(),
		Tenant: rec.GetTenant(), Priority: rec.GetPriority(), Tag: rec.GetTag(), Destination: rec.GetDestination(),
		AcceptedAt: rec.GetAcceptedAt(), DecidedAt: timestamppb.New(now),
		ExpiresAt: timestamppb.New(r.e.o.Retry.ExpiresAt(rec.GetAcceptedAt().AsTime(), envelope.GetSender() == "")),
		Trace:     rec.GetTrace(), Content: rec.GetContent(), Loop: rec.GetLoop(), ReportsOn: rec.GetReportsOn(),
		IdempotencyHash: rec.GetIdempotencyHash(), SubmitDigest: rec.GetSubmitDigest(),
		Attempt: &eventv1.Attempt{
			Number: r.job.Number, StartedAt: timestamppb.New(r.began), Duration: durationpb.New(now.Sub(r.began)),
			Hosts: r.tries, Failure: r.failure.Proto(), Traceparent: telemetry.Traceparent(ctx),
		},
	}
	for i := range r.results {
		res := r.result(i, now)
		o.Results = append(o.Results, res)
		if res.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DEFERRED {
			continue
		}
		if o.Pause == nil || res.GetPause().AsDuration() > o.GetPause().AsDuration() {
			o.Pause = res.GetPause()
		}
	}
	return o
}
