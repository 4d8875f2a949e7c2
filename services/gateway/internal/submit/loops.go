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
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/maillog"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/kit/telemetry"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/content"
	"github.com/postrider/postrider/services/gateway/internal/envelope"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect/fingerprint"
)

// ReasonLoop is a message that goes in circles (G-15).
const ReasonLoop = "LOOP"

// loopCheck applies the loop rules and keeps their decisions in a span and in the record, also when there is no loop
// (L-09). body is the beginning of the body.
func (t *task) loopCheck(ctx context.Context, head *loopHeader, body []byte) error {
	ctx, span := t.o.Tracer.Start(ctx, "gateway.loop_check")
	defer span.End()
	verdict := t.o.Sealer.Check(loopdetect.Message{
		Received: head.received, Traces: head.traces, Recipients: t.keysOf(),
		Reports: t.m.Envelope.ReportsOn != "", ReportedHop: t.m.Envelope.ReportedHop,
	}, t.o.MaxHops)
	deciding, loop := verdict.Refuses()
	refused := loop && !t.some(deciding)
	if loop && !refused {
		t.drop(deciding)
	}
	if !refused {
		repeated := t.repeats(ctx, head, body)
		verdict.Decisions = append(verdict.Decisions, repeated)
		t.m.Held = repeated.Result == eventv1.LoopResult_LOOP_RESULT_HELD
		if repeated.Loop() || !loop {
			deciding, loop, refused = repeated, repeated.Loop(), repeated.Loop()
		}
	}
	t.m.Loop = verdict.Record()
	t.o.Meter.loops(ctx, verdict)
	record(span, verdict, deciding, loop)
	if loop {
		telemetry.MarkInteresting(ctx)
	}
	if !refused {
		return nil
	}
	t.note(ctx)
	return t.loopError(deciding)
}

// repeats counts the message among its equals (L-07).
func (t *task) repeats(ctx context.Context, head *loopHeader, body []byte) loopdetect.Decision {
	if t.m.Envelope.ReportsOn != "" {
		return loopdetect.Exempt()
	}
	head.print.Recipients, head.print.Body = t.keysOf(), body
	judged := t.o.Repeats.Judge(ctx, &head.print, t.m.ID)
	if !judged.Decision.Loop() { // what was refused as a loop counts on
		t.undo = judged.Undo
	}
	if judged.Unshared != nil {
		t.o.Meter.countedAlone(ctx)
	}
	if judged.Tell {
		t.o.Log.Repeated(ctx, maillog.Event{
			MessageID: t.m.ID, Domain: t.m.Envelope.Recipients[0].Destination, Caller: t.m.Caller, Equal: judged.Decision.Value,
		})
	}
	return judged.Decision
}

// note keeps the decisions about a message that is in no queue. Without the store they are in the span and the log alone.
func (t *task) note(ctx context.Context) {
	err := t.o.Refusals.Keep(ctx, &eventv1.LoopRefusal{
		MessageId: t.m.ID, Time: timestamppb.New(t.m.AcceptedAt), Caller: t.m.Caller, Loop: t.m.Loop,
	})
	if err != nil {
		trace.SpanFromContext(ctx).RecordError(err)
	}
}

// loopHeader is what the loop rules look at of a header.
type loopHeader struct {
	received int
	traces   []string
	print    fingerprint.Message
}

func (t *task) loopHeader(head *content.Header) *loopHeader {
	h := &loopHeader{received: head.Received, traces: head.Values(loopdetect.TraceField)}
	h.print = fingerprint.Message{
		NullSender: t.m.Envelope.Sender.IsNull(), From: head.Value("From"), Subject: head.Value("Subject"),
		ContentType: head.Value("Content-Type"), Encoding: head.Value("Content-Transfer-Encoding"),
		AutoSubmitted: head.Value("Auto-Submitted"), Handed: t.by.SMTP || h.received > 0 || len(h.traces) > 0,
	}
	if h.print.Response() {
		for _, name := range []string{"Message-ID", "In-Reply-To", "References"} {
			h.print.IDs = append(h.print.IDs, head.Values(name)...)
		}
	}
	return h
}

// bodyBytes is how much of the body the rules want to see.
func (h *loopHeader) bodyBytes() int {
	if h.print.Response() {
		return fingerprint.ResponseBytes
	}
	return fingerprint.BodyBytes
}

// record writes the decision to the span: rule, values compared, limit, decision; of all rules when none found a loop.
func record(span trace.Span, v loopdetect.Verdict, deciding loopdetect.Decision, loop bool) {
	if !span.IsRecording() {
		return
	}
	decisions, decision := v.Decisions, "no_loop"
	switch {
	case loop:
		decisions, decision = []loopdetect.Decision{deciding}, "refuse"
		span.SetAttributes(attribute.String("mail.reason", string(deciding.Reason)))
	case deciding.Result == eventv1.LoopResult_LOOP_RESULT_REPORTED:
		decision = "report"
	case deciding.Result == eventv1.LoopResult_LOOP_RESULT_HELD:
		decision = "hold"
	}
	rules, values, limits := make([]string, len(decisions)), make([]string, len(decisions)), make([]string, len(decisions))
	for i, d := range decisions {
		rules[i], values[i], limits[i] = d.Name(), d.Values(), strconv.Itoa(d.Limit)
	}
	span.SetAttributes(
		attribute.String("mail.loop.rule", strings.Join(rules, " ")),
		attribute.String("mail.loop.values", strings.Join(values, " ")),
		attribute.String("mail.loop.limit", strings.Join(limits, " ")),
		attribute.String("mail.loop.decision", decision),
		attribute.Int("mail.loop.foreign_traces", v.Foreign),
		attribute.Bool("mail.loop.shared", deciding.Result != eventv1.LoopResult_LOOP_RESULT_UNSHARED),
	)
}

// some reports that a decision is about some of the recipients, and that the others may be taken (G-05).
func (t *task) some(d loopdetect.Decision) bool {
	return t.in.GetPartial() && len(d.Recipients) > 0 && len(d.Recipients) < len(t.m.Envelope.Recipients)
}

func loopText(d loopdetect.Decision) string {
	return fmt.Sprintf("goes in a loop: rule %s (%s), %s, limit %d", d.Name(), d.Reason, d.Values(), d.Limit)
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
		Code: codes.FailedPrecondition, Reason: ReasonLoop, Enhanced: smtpreply.Code(5, 4, 6), Message: "message " + t.m.ID + " " + loopText(d),
	}
	for _, i := range d.Recipients {
		err.Fields = append(err.Fields, rpc.Field{
			Field:       fmt.Sprintf("envelope.recipients[%d].address", t.m.Envelope.Recipients[i].Index),
			Description: "mail to this recipient " + loopText(d),
		})
	}
	return err
}
