// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/kit/crashpoint"
	"github.com/postrider/postrider/kit/maillog"
	"github.com/postrider/postrider/kit/telemetry"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
	"github.com/postrider/postrider/services/dsn/internal/report"
	"github.com/postrider/postrider/services/dsn/internal/submit"
	"github.com/postrider/postrider/services/dsn/internal/throttle"
)

// Scope is the instrumentation scope of the service's spans and metrics.
const Scope = "github.com/postrider/postrider/services/dsn"

// Submitter hands a notification in. It returns when the gateway has it, or has refused it for good; its only error is
// that of ctx.
type Submitter interface {
	Submit(ctx context.Context, n submit.Notification) (submit.Receipt, error)
}

// Options are what a Notifier works with. All but Postmaster are required.
type Options struct {
	Composer  report.Composer
	Submitter Submitter
	Log       *slog.Logger
	Tracer    trace.TracerProvider
	Meter     metric.MeterProvider
	// Limits are those of D-17.
	Limits throttle.Limits
	// Postmaster is told, in lists, of failed mail with the null sender (D-03). Empty: nobody is.
	Postmaster string
}

// Notifier handles outcomes, in one Tenure at a time. It may be used by several goroutines.
type Notifier struct {
	composer   report.Composer
	submitter  Submitter
	log        *slog.Logger
	events     maillog.Logger
	tracer     trace.Tracer
	meters     *meters
	limits     throttle.Limits
	postmaster string
	// counting is the throttle of the tenure, nil when there is none.
	counting atomic.Pointer[throttle.Throttle]
}

// New returns a Notifier.
func New(o Options) (*Notifier, error) {
	m, err := newMeters(o.Meter)
	if err != nil {
		return nil, err
	}
	return &Notifier{
		composer: o.Composer, submitter: o.Submitter, log: o.Log, events: maillog.New(o.Log),
		tracer: o.Tracer.Tracer(Scope), meters: m, limits: o.Limits, postmaster: o.Postmaster,
	}, nil
}

// Item is an outcome as it lies in the queue.
type Item struct {
	Outcome *eventv1.Outcome
	// Original is what may be returned of the original message.
	Original []byte
	// StoredAt is when the outcome was stored, by the server's clock.
	StoredAt time.Time
	// Partition and Sequence say where it lies.
	Partition int
	Sequence  uint64

	// decisions is what Plan decided, joined what of it is told later.
	decisions []policy.Decision
	joined    []joined
}

// Handle carries out what Plan decided. When it returns nil the outcome is settled: every notification that is due is
// durably in the queue, or among those that are told later, or is recorded as one that can never be made or taken. The
// only error is that of ctx. What is joined is stored first: were it second, a crash between the two could find the
// notification handed in and its other recipients decided otherwise.
func (t *Tenure) Handle(ctx context.Context, item Item) error {
	n := t.Notifier
	ctx = telemetry.ExtractRecord(ctx, item.Outcome.GetTrace())
	n.decided(ctx, item)
	if err := t.join(ctx, item); err != nil {
		return err
	}
	for _, d := range item.decisions {
		if !d.Due() {
			n.notDue(ctx, item.Outcome, d)
			continue
		}
		message, err := n.compose(ctx, item, d)
		if err != nil {
			n.impossible(ctx, item.Outcome, d, err)
			continue
		}
		if err := n.submit(ctx, item, d, message); err != nil {
			return err
		}
	}
	return nil
}

// decided records the decisions.
func (n *Notifier) decided(ctx context.Context, item Item) {
	ctx, span := n.tracer.Start(ctx, "dsn.decide")
	defer span.End()
	for _, d := range item.decisions {
		n.meters.decided(ctx, d)
	}
	if !span.IsRecording() {
		return
	}
	words := make([]string, len(item.decisions))
	for i, d := range item.decisions {
		words[i] = fmt.Sprintf("%s %s %d", d.Kind, d.Reason, len(d.Recipients))
	}
	span.SetAttributes(append(identity(item.Outcome), attribute.StringSlice("mail.dsn.decisions", words))...)
	if len(item.joined) > 0 {
		span.SetAttributes(
			attribute.String("mail.dsn.limit", string(item.joined[0].limit)),
			attribute.String("mail.dsn.told_at", item.joined[0].due.Format(time.RFC3339)))
	}
	telemetry.MarkInteresting(ctx)
}

// compose is report.Compose under a span.
func (n *Notifier) compose(ctx context.Context, item Item, d policy.Decision) (report.Message, error) {
	_, span := n.tracer.Start(ctx, "dsn.compose")
	defer span.End()
	message, err := n.composer.Compose(report.Input{
		Outcome: item.Outcome, Kind: d.Kind, Recipients: d.Recipients, Original: item.Original, StoredAt: item.StoredAt,
	})
	if span.IsRecording() {
		span.SetAttributes(append(identity(item.Outcome), kind(d), attribute.Int("mail.size", len(message.Content)))...)
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
	}
	return message, err
}

// submit hands a notification in under a span, below which the gateway's own stand.
func (n *Notifier) submit(ctx context.Context, item Item, d policy.Decision, message report.Message) error {
	o := item.Outcome
	ctx, span := n.tracer.Start(ctx, "dsn.submit")
	defer span.End()
	crashpoint.At("dsn.submit.before")
	receipt, err := n.submitter.Submit(ctx, submit.Notification{
		Key: d.Key(o.GetId()), Recipient: message.Recipient, Content: message.Content, RequireTLS: message.RequireTLS, About: o,
	})
	crashpoint.At("dsn.submit.after")
	if span.IsRecording() {
		span.SetAttributes(append(identity(o), kind(d),
			attribute.String("mail.dsn.notification_id", receipt.MessageID),
			attribute.Bool("mail.dsn.duplicate", receipt.Duplicate),
			attribute.Int("mail.dsn.tries", receipt.Tries))...)
	}
	switch {
	case err != nil:
		span.SetStatus(codes.Error, "given up while stopping")
		return err
	case receipt.Refused != nil:
		span.SetStatus(codes.Error, receipt.Refused.CodeWord()+" "+receipt.Refused.Reason)
		n.meters.ended(ctx, d, resultRefused)
		n.log.LogAttrs(ctx, slog.LevelError, "notification refused by the gateway, given up", append(facts(o, d),
			slog.Any("error", receipt.Refused))...)
	default:
		n.meters.accepted(ctx, d, receipt.Duplicate, item.StoredAt)
		n.events.Notified(ctx, maillog.Event{
			MessageID: o.GetMessageId(), Attempt: int(o.GetAttempt().GetNumber()), Domain: o.GetDestination(),
			Recipients: len(d.Recipients), Kind: string(d.Kind), NotificationID: receipt.MessageID,
		})
	}
	return nil
}

// notDue records that no notification is due. A final failure nobody is told of must at least be found (D-03).
func (n *Notifier) notDue(ctx context.Context, o *eventv1.Outcome, d policy.Decision) {
	if d.Kind == policy.Failed && d.Reason != policy.ReasonThrottled {
		n.log.LogAttrs(ctx, slog.LevelWarn, "final failure without notification", append(facts(o, d),
			slog.String("reason", string(d.Reason)))...)
	}
}

// impossible records an outcome no notification can be made of. It never blocks others.
func (n *Notifier) impossible(ctx context.Context, o *eventv1.Outcome, d policy.Decision, err error) {
	n.meters.ended(ctx, d, resultImpossible)
	n.log.LogAttrs(ctx, slog.LevelError, "notification cannot be made", append(facts(o, d), slog.Any("error", err))...)
}

// identity are the attributes every span of the service has.
func identity(o *eventv1.Outcome) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("mail.message_id", o.GetMessageId()),
		attribute.Int("mail.attempt", int(o.GetAttempt().GetNumber())),
		attribute.String("mail.dsn.outcome_id", o.GetId()),
	}
}

func kind(d policy.Decision) attribute.KeyValue {
	return attribute.String("mail.dsn.kind", string(d.Kind))
}

// facts are what every log line of the service has.
func facts(o *eventv1.Outcome, d policy.Decision) []slog.Attr {
	return []slog.Attr{
		slog.String("message_id", o.GetMessageId()),
		slog.String("outcome_id", o.GetId()),
		slog.String("domain", o.GetDestination()),
		slog.String("kind", string(d.Kind)),
		slog.Int("recipients", len(d.Recipients)),
	}
}
