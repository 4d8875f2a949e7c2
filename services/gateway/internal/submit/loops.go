// SPDX-License-Identifier: Apache-2.0

package submit

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/kit/telemetry"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/content"
	"github.com/postrider/postrider/services/gateway/internal/envelope"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect"
)

// ReasonLoop is a message that goes in circles (G-15).
const ReasonLoop = "LOOP"

// loopCheck applies the loop rules and keeps their decision in a span, also when there is no loop (L-09).
func (t *task) loopCheck(ctx context.Context, head *content.Header) error {
	ctx, span := t.o.Tracer.Start(ctx, "gateway.loop_check")
	defer span.End()
	verdict := t.o.Sealer.Check(loopdetect.Message{
		Received: head.Received, Traces: head.Values(loopdetect.TraceField), Recipients: t.keysOf(),
		Reports: t.m.Envelope.ReportsOn != "", ReportedHop: t.m.Envelope.ReportedHop,
	}, t.o.MaxHops)
	t.m.Hop = verdict.Hop
	t.o.Meter.foreignTraces(ctx, verdict.Foreign)
	deciding, loop := verdict.Refuses()
	record(span, verdict, deciding, loop)
	if !loop {
		return nil
	}
	telemetry.MarkInteresting(ctx)
	if t.in.GetPartial() && len(deciding.Recipients) > 0 && len(deciding.Recipients) < len(t.m.Envelope.Recipients) {
		t.drop(deciding)
		return nil
	}
	return t.loopError(deciding)
}

// record writes the decision to the span: rule, values compared, limit, decision; of all rules when none found a loop.
func record(span trace.Span, v loopdetect.Verdict, deciding loopdetect.Decision, loop bool) {
	if !span.IsRecording() {
		return
	}
	decisions, decision := v.Decisions, "no_loop"
	if loop {
		decisions, decision = []loopdetect.Decision{deciding}, "refuse"
		span.SetAttributes(attribute.String("mail.reason", string(deciding.Reason)))
	}
	rules, values, limits := make([]string, len(decisions)), make([]string, len(decisions)), make([]string, len(decisions))
	for i, d := range decisions {
		rules[i], values[i], limits[i] = d.Rule, d.Values(), strconv.Itoa(d.Limit)
	}
	span.SetAttributes(
		attribute.String("mail.loop.rule", strings.Join(rules, " ")),
		attribute.String("mail.loop.values", strings.Join(values, " ")),
		attribute.String("mail.loop.limit", strings.Join(limits, " ")),
		attribute.String("mail.loop.decision", decision),
		attribute.Int("mail.loop.foreign_traces", v.Foreign),
	)
}

func loopText(d loopdetect.Decision) string {
	return fmt.Sprintf("goes in a loop: rule %s (%s), %s, limit %d", d.Rule, d.Reason, d.Values(), d.Limit)
}

// drop refuses the recipients a rule names and keeps the others (G-05).
func (t *task) drop(d loopdetect.Decision) {
	e := t.m.Envelope
	kept := make([]envelope.Recipient, 0, len(e.Recipients))
	for i, r := range e.Recipients {
		if !slices.Contains(d.Recipients, i) {
			kept = append(kept, r)
			continue
		}
		e.Refused = append(e.Refused, &gatewayv1.RefusedRecipient{
			Index: r.Index, Reason: ReasonLoop, Enhanced: smtpreply.Code(5, 4, 6).String(), Message: "mail to this recipient " + loopText(d),
		})
	}
	e.Recipients = kept
}

func (t *task) loopError(d loopdetect.Decision) *rpc.Error {
	err := &rpc.Error{
		Code: codes.FailedPrecondition, Reason: ReasonLoop, Enhanced: smtpreply.Code(5, 4, 6), Message: "the message " + loopText(d),
	}
	for _, i := range d.Recipients {
		err.Fields = append(err.Fields, rpc.Field{
			Field:       fmt.Sprintf("envelope.recipients[%d].address", t.m.Envelope.Recipients[i].Index),
			Description: "mail to this recipient " + loopText(d),
		})
	}
	return err
}
