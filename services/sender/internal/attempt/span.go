// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/kit/telemetry"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// attemptSpan is the span sender.attempt. The zero value records nothing.
type attemptSpan struct{ span trace.Span }

// begin starts the span of the attempt in the trace of the message, with a link to the attempt before (O-01).
func (r *run) begin(ctx context.Context) (context.Context, attemptSpan) {
	ctx = telemetry.ExtractRecord(ctx, r.rec.GetTrace())
	if r.e.o.Tracer == nil {
		return ctx, attemptSpan{}
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}
	if link, ok := telemetry.LinkTo(lastAttempt(r.rec).GetTraceparent()); ok {
		options = append(options, trace.WithLinks(link))
	}
	ctx, span := r.e.o.Tracer.Start(ctx, "sender.attempt", options...)
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("mail.message_id", r.rec.GetMessageId()),
			attribute.Int("mail.part", int(r.rec.GetPart())),
			attribute.Int("mail.attempt", int(r.job.Number)),
			attribute.String("mail.destination", r.rec.GetDestination()),
			attribute.Int("mail.recipients", len(r.rec.GetEnvelope().GetRecipients())),
			attribute.Int64("messaging.message.body.size", int64(r.rec.GetContent().GetSize())))
	}
	return ctx, attemptSpan{span: span}
}

// abandon ends the span of an attempt that settles nothing.
func (s attemptSpan) abandon() {
	if s.span == nil {
		return
	}
	if s.span.IsRecording() {
		s.span.SetAttributes(attribute.String("mail.verdict", "none"),
			attribute.String("mail.reason", string(smtpreply.ReasonShutdown)))
	}
	s.span.End()
}

// end ends the span with what the attempt came to. A trace of nothing but a delivery at the first host may be left out
// of the export; all others are kept.
func (s attemptSpan) end(ctx context.Context, r *run, o *eventv1.Outcome) {
	if s.span == nil {
		return
	}
	defer s.span.End()
	if !s.span.IsRecording() {
		return
	}
	var telling *smtpreply.Error
	counts := map[eventv1.RecipientState]int{}
	for i, res := range o.GetResults() {
		counts[res.GetState()]++
		if telling == nil {
			telling = r.results[i].Failure
		}
	}
	s.span.SetAttributes(
		attribute.String("mail.site", r.route.GetSite()),
		attribute.String("mail.verdict", verdictWord(counts)),
		attribute.Int("mail.hosts_tried", len(r.tries)))
	if telling != nil {
		s.span.SetAttributes(smtpclient.FailureAttributes(telling)...)
		s.span.SetStatus(codes.Error, string(telling.Reason))
	}
	switch {
	case telling != nil || len(r.tries) > 1:
		telemetry.MarkInteresting(ctx)
	default:
		telemetry.MarkSettled(ctx)
	}
}

// verdictWord is the state of all recipients, or "mixed".
func verdictWord(counts map[eventv1.RecipientState]int) string {
	if len(counts) != 1 {
		return "mixed"
	}
	for state := range counts {
		switch state {
		case eventv1.RecipientState_RECIPIENT_STATE_DELIVERED:
			return "delivered"
		case eventv1.RecipientState_RECIPIENT_STATE_RELAYED:
			return "relayed"
		case eventv1.RecipientState_RECIPIENT_STATE_DEFERRED:
			return "deferred"
		case eventv1.RecipientState_RECIPIENT_STATE_BOUNCED:
			return "bounced"
		case eventv1.RecipientState_RECIPIENT_STATE_EXPIRED:
			return "expired"
		case eventv1.RecipientState_RECIPIENT_STATE_HELD:
			return "held"
		}
	}
	return "none"
}

// child starts a span below the attempt's; nil when that one does not record.
func (r *run) child(ctx context.Context, name string) (context.Context, trace.Span) {
	if r.e.o.Tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, nil
	}
	return r.e.o.Tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
}

// endResolve ends the span of the look-up.
func endResolve(span trace.Span, route *resolverv1.ResolveRouteResponse, fail *smtpreply.Error) {
	if span == nil {
		return
	}
	span.SetAttributes(
		attribute.Int("mail.route.hosts", len(route.GetHosts())),
		attribute.Bool("mail.route.implicit_mx", route.GetImplicitMx()),
		attribute.Float64("mail.route.cache_age_seconds", route.GetCacheAge().AsDuration().Seconds()))
	if fail != nil {
		span.SetAttributes(smtpclient.FailureAttributes(fail)...)
		span.SetStatus(codes.Error, string(fail.Reason))
	}
	span.End()
}
