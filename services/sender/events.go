// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/postrider/postrider/kit/maillog"
	"github.com/postrider/postrider/kit/runner"
	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/kit/telemetry"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/lanes"
	"github.com/postrider/postrider/services/sender/internal/ownership"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

// events writes event lines and counts (tenure.Events).
type events struct {
	log      *slog.Logger
	mail     maillog.Logger
	meter    metric.Meter
	lanes    *lanes.Lanes[*tenure.Record]
	results  metric.Int64Counter
	marked   metric.Int64Counter
	moved    metric.Int64Counter
	held     metric.Int64Counter
	open     metric.Int64UpDownCounter
	duration metric.Float64Histogram
	known    sync.Map // measurement options by label
}

func newEvents(env runner.Env, l *lanes.Lanes[*tenure.Record]) (*events, error) {
	m := env.Meter.Meter(scope)
	e := &events{log: env.Log, mail: maillog.New(env.Log), meter: m, lanes: l}
	var errs [6]error
	e.results, errs[0] = m.Int64Counter("postrider.sender.results", metric.WithUnit("{recipient}"),
		metric.WithDescription("Results of attempts by verdict and reason, one for each recipient."))
	e.marked, errs[1] = m.Int64Counter("postrider.sender.possible_duplicates", metric.WithUnit("{recipient}"),
		metric.WithDescription("Results that are marked as possible duplicates."))
	e.moved, errs[2] = m.Int64Counter("postrider.queue.moves", metric.WithUnit("{record}"),
		metric.WithDescription("Copies of records to another stream, by why."))
	e.held, errs[3] = m.Int64Counter("postrider.queue.held", metric.WithUnit("{record}"),
		metric.WithDescription("Records set aside because they cannot be read or sent."))
	e.open, errs[4] = m.Int64UpDownCounter("postrider.smtp.connections", metric.WithUnit("{connection}"),
		metric.WithDescription("Open connections to mail hosts."))
	e.duration, errs[5] = m.Float64Histogram("postrider.sender.attempt.duration", metric.WithUnit("s"),
		metric.WithDescription("Time of an attempt."),
		metric.WithExplicitBucketBoundaries(.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300, 600))
	return e, errors.Join(append(errs[:], e.watchLanes())...)
}

func (e *events) watchLanes() error {
	waiting, err := e.meter.Int64ObservableGauge("postrider.sender.waiting", metric.WithUnit("{record}"),
		metric.WithDescription("Records that wait in lanes."))
	running, err2 := e.meter.Int64ObservableGauge("postrider.sender.attempts", metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts that run."))
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	_, err = e.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(waiting, int64(e.lanes.Waiting()))
		o.ObserveInt64(running, int64(e.lanes.Running()))
		return nil
	}, waiting, running)
	return err
}

// watch exports how old the oldest record in work is, by partition.
func (e *events) watch(k *ownership.Keeper[*tenure.Tenure]) {
	_, err := e.meter.Float64ObservableGauge("postrider.queue.age", metric.WithUnit("s"),
		metric.WithDescription("How long ago the oldest record in work was read, by partition."),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			for p, t := range k.Owned() {
				o.Observe(t.Oldest().Seconds(), metric.WithAttributes(attribute.Int("postrider.partition", p)))
			}
			return nil
		}))
	if err != nil {
		e.log.Warn("queue age is not measured", slog.Any("error", err))
	}
}

// connection is told of connections opened and closed.
func (e *events) connection(delta int) { e.open.Add(context.Background(), int64(delta)) }

// Moved is told of each copy stored (tenure.Events).
func (e *events) Moved(why string) {
	e.moved.Add(context.Background(), 1, metric.WithAttributes(attribute.String("why", why)))
}

// Held is the alarm for what is set aside (tenure.Events, Q-10).
func (e *events) Held(place string, fault error) {
	e.held.Add(context.Background(), 1)
	e.log.Error("ALARM: a record is set aside", slog.String("place", place), slog.Any("error", fault))
}

// Settling is told of each outcome (tenure.Events).
func (e *events) Settling(mail *eventv1.QueuedMail, o *eventv1.Outcome, next time.Time) {
	ctx := context.Background()
	if a := o.GetAttempt(); a != nil {
		e.duration.Record(ctx, a.GetDuration().AsDuration().Seconds())
	}
	groups := make(map[eventv1.RecipientState][]*eventv1.RecipientResult)
	for _, r := range o.GetResults() {
		e.results.Add(ctx, 1, e.labels(r.GetState(), reason(r)))
		if r.GetPossibleDuplicate() {
			e.marked.Add(ctx, 1)
		}
		groups[r.GetState()] = append(groups[r.GetState()], r)
	}
	trace := mail.GetTrace()
	if own := o.GetAttempt().GetTraceparent(); own != "" {
		trace = &eventv1.TraceContext{Traceparent: own}
	}
	ctx = telemetry.ExtractRecord(ctx, trace)
	base := maillog.Event{
		MessageID: o.GetMessageId(), Attempt: int(number(mail, o)), Domain: o.GetDestination(),
		Size: int64(o.GetContent().GetSize()),
	}
	for _, h := range o.GetAttempt().GetHosts() {
		if h.GetFailure() != nil { // one that took the mail stands in the line of the delivery
			e.mail.Attempted(ctx, tried(base, h))
		}
	}
	for state, results := range groups {
		e.tell(ctx, state, verdict(base, o, results), next)
	}
}

// labels are the attributes of a result, made once for each verdict and reason.
func (e *events) labels(state eventv1.RecipientState, reason string) metric.MeasurementOption {
	key := label{state, reason}
	if known, ok := e.known.Load(key); ok {
		return known.(metric.MeasurementOption)
	}
	set := attribute.NewSet(attribute.String("mail.verdict", word(state)), attribute.String("mail.reason", reason))
	made, _ := e.known.LoadOrStore(key, metric.WithAttributeSet(set))
	return made.(metric.MeasurementOption)
}

// label is a verdict and a reason, both words of fixed lists.
type label struct {
	state  eventv1.RecipientState
	reason string
}

func (e *events) tell(ctx context.Context, state eventv1.RecipientState, event maillog.Event, next time.Time) {
	switch state {
	case eventv1.RecipientState_RECIPIENT_STATE_DELIVERED, eventv1.RecipientState_RECIPIENT_STATE_RELAYED:
		e.mail.Delivered(ctx, event)
	case eventv1.RecipientState_RECIPIENT_STATE_DEFERRED:
		event.Next = next
		e.mail.Deferred(ctx, event)
	case eventv1.RecipientState_RECIPIENT_STATE_BOUNCED:
		e.mail.Bounced(ctx, event)
	case eventv1.RecipientState_RECIPIENT_STATE_EXPIRED:
		e.mail.Expired(ctx, event)
	}
}

// number is that of the attempt an outcome is of, or of the last one before an outcome that is of none.
func number(mail *eventv1.QueuedMail, o *eventv1.Outcome) uint32 {
	if o.GetAttempt() == nil {
		return mail.GetAttempt()
	}
	return mail.GetAttempt() + 1
}

// tried is the line of one host.
func tried(event maillog.Event, h *eventv1.HostTry) maillog.Event {
	event.Host, event.Address = h.GetHost(), h.GetAddress()
	event.TLS = h.GetTls().GetVersion()
	event.Failure = smtpreply.FromProto(h.GetFailure())
	event.Duration = h.GetDuration().AsDuration()
	return event
}

// verdict is the line of the recipients that came to the same state, with what the first of them was told.
func verdict(event maillog.Event, o *eventv1.Outcome, results []*eventv1.RecipientResult) maillog.Event {
	first := results[0]
	event.Recipients = len(results)
	event.Host = first.GetRemoteMta()
	for _, h := range o.GetAttempt().GetHosts() {
		if h.GetFailure() == nil && h.GetHost() == event.Host {
			event.Address, event.TLS = h.GetAddress(), h.GetTls().GetVersion()
		}
	}
	event.Reply = smtpreply.ReplyFromProto(first.GetReply())
	event.Failure = smtpreply.FromProto(first.GetFailure())
	event.Duration = o.GetAttempt().GetDuration().AsDuration()
	return event
}

// word is a state as it is written everywhere: lower case.
func word(s eventv1.RecipientState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "RECIPIENT_STATE_"))
}

// reason is why, a word of a fixed list: never a remote's text.
func reason(r *eventv1.RecipientResult) string {
	if r.GetFailure() == nil {
		return ""
	}
	return string(smtpreply.FromProto(r.GetFailure()).Word())
}
