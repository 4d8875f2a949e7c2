// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"github.com/postrider/postrider/kit/crashpoint"
	"github.com/postrider/postrider/kit/maillog"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/join"
	"github.com/postrider/postrider/services/dsn/internal/policy"
	"github.com/postrider/postrider/services/dsn/internal/report"
	"github.com/postrider/postrider/services/dsn/internal/submit"
	"github.com/postrider/postrider/services/dsn/internal/text"
)

// kindList is the kind, in event lines, of a list of joined notifications.
const kindList = "list"

// Tell hands a list in (join.Sender).
func (t *Tenure) Tell(ctx context.Context, l join.List) error {
	ctx, span := t.tracer.Start(ctx, "dsn.list")
	defer span.End()
	about := about(l)
	message, err := t.composer.ComposeList(t.list(l))
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		t.meters.list(ctx, resultImpossible)
		t.log.LogAttrs(ctx, slog.LevelError, "list of joined notifications cannot be made", slog.String("key", l.Key),
			slog.Int("recipients", len(l.Entries)), slog.Any("error", err))
		return nil
	}
	crashpoint.At("dsn.list.before")
	receipt, err := t.submitter.Submit(ctx, submit.Notification{
		Key: l.Key, Recipient: message.Recipient, Content: message.Content, RequireTLS: message.RequireTLS, About: about,
	})
	crashpoint.At("dsn.list.after")
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("mail.dsn.notification_id", receipt.MessageID),
			attribute.Bool("mail.dsn.duplicate", receipt.Duplicate),
			attribute.Int("mail.dsn.tries", receipt.Tries),
			attribute.Int("mail.dsn.recipients", len(l.Entries)))
	}
	switch {
	case err != nil:
		span.SetStatus(codes.Error, "given up while stopping")
		return err
	case receipt.Refused != nil:
		span.SetStatus(codes.Error, receipt.Refused.CodeWord()+" "+receipt.Refused.Reason)
		t.meters.list(ctx, resultRefused)
		t.log.LogAttrs(ctx, slog.LevelError, "list of joined notifications refused by the gateway, given up",
			slog.String("key", l.Key), slog.Int("recipients", len(l.Entries)), slog.Any("error", receipt.Refused))
	default:
		result := resultAccepted
		if receipt.Duplicate {
			result = resultDuplicate
		}
		t.meters.list(ctx, result)
		t.events.Notified(ctx, maillog.Event{
			MessageID: about.GetMessageId(), Domain: l.To, Recipients: len(l.Entries), Kind: kindList,
			NotificationID: receipt.MessageID,
		})
	}
	return nil
}

// list is a list as it is written.
func (t *Tenure) list(l join.List) report.List {
	r := report.List{
		To: l.To, ID: l.ID, Begin: l.Due.Add(-t.limits.Window), End: l.Due, Part: l.Part, Parts: l.Parts, Total: l.Total,
		RequireTLS: l.RequireTLS, Postmaster: true,
	}
	for _, e := range l.Entries {
		r.Postmaster = r.Postmaster && e.Notice.GetLimit() == string(limitPostmaster)
		r.Lines = append(r.Lines, text.Line{
			Kind: policy.Kind(e.Notice.GetKind()), Happened: e.Recipient.GetHappened(), Reference: e.Notice.GetMessageId(),
			Status: e.Recipient.GetStatus(), Address: e.Recipient.GetAddress(),
		})
	}
	return r
}

// about is what the gateway has to know of what a list tells: the first message stands for all, the highest hop number
// goes on (L-03).
func about(l join.List) *eventv1.Outcome {
	o := &eventv1.Outcome{MessageId: l.Entries[0].Notice.GetMessageId(), Tenant: l.Tenant}
	for _, e := range l.Entries {
		if hop := e.Notice.GetLoop(); hop != nil && (o.Loop == nil || hop.GetHopNumber() > o.GetLoop().GetHopNumber()) {
			o.Loop = hop
		}
	}
	return o
}
