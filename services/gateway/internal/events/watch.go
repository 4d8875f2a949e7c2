// SPDX-License-Identifier: Apache-2.0

package events

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/changes"
	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/statusview"
)

// Reasons of a watch that cannot begin.
const (
	// ReasonCursor is a text that is no cursor, or one of another queue.
	ReasonCursor = "INVALID_CURSOR"
	// ReasonCursorOld is a cursor from which on something was trimmed.
	ReasonCursorOld = "CURSOR_TOO_OLD"
	// ReasonBusy is a gateway with as many watchers as it serves.
	ReasonBusy = "TOO_MANY_WATCHERS"
)

const (
	// maxWatchers bounds the watchers of a gateway: each reads every stream by itself.
	maxWatchers = 32
	readBytes   = 1 << 20
	stateLimit  = 5 * time.Second
)

// Watcher serves watches. It is safe for concurrent use.
type Watcher struct {
	js    jetstream.JetStream
	rules statusview.Rules
	slots chan struct{}
}

// New returns a watcher. rules are the operators' changes, nil shows none.
func New(js jetstream.JetStream, rules statusview.Rules) *Watcher {
	return &Watcher{js: js, rules: rules, slots: make(chan struct{}, maxWatchers)}
}

// Watch calls send for each event behind the request's cursor, from one goroutine, until ctx ends or send fails. The
// error is an *rpc.Error, send's or that of ctx.
func (w *Watcher) Watch(ctx context.Context, in *gatewayv1.WatchEventsRequest, send func(*gatewayv1.WatchEventsResponse) error) error {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	default:
		return &rpc.Error{
			Code: codes.ResourceExhausted, Reason: ReasonBusy, Message: "too many watchers", RetryAfter: 10 * time.Second,
		}
	}
	at, err := w.begin(ctx, in.GetCursor())
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	deliveries := make(chan bus.Delivery)
	for stream, sequence := range at.last {
		group.Go(func() error { return w.read(ctx, stream, sequence+1, deliveries) })
	}
	group.Go(func() error {
		for {
			select {
			case d := <-deliveries:
				if err := w.tell(d, at, in.GetMessageId(), send); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return group.Wait()
}

// begin returns where each stream is read from. Without a cursor that is where the streams end now.
func (w *Watcher) begin(ctx context.Context, text string) (cursor, error) {
	ctx, cancel := context.WithTimeout(ctx, stateLimit)
	defer cancel()
	minutes, err := bus.RetryStreams(ctx, w.js)
	if err != nil {
		return cursor{}, unavailable(err)
	}
	streams := []string{bus.StreamMail, bus.StreamPark, bus.StreamOutcome}
	for _, m := range minutes {
		streams = append(streams, bus.RetryStream(m))
	}
	given := newCursor()
	if text != "" {
		if given, err = parseCursor(text); err != nil {
			return cursor{}, invalidCursor()
		}
	}
	return w.place(ctx, streams, given, text == "")
}

// place checks a cursor against the streams as they are.
func (w *Watcher) place(ctx context.Context, streams []string, given cursor, now bool) (cursor, error) {
	at, oldest, tooOld := newCursor(), newCursor(), false
	at.partly = given.partly
	for _, name := range streams {
		s, err := w.js.Stream(ctx, name)
		if err != nil {
			return cursor{}, unavailable(err)
		}
		state, seen := s.CachedInfo().State, given.last[name]
		first := max(state.FirstSeq, 1) - 1 // the sequence before the first that is there
		at.last[name], oldest.last[name] = seen, max(first, seen)
		switch {
		case now:
			at.last[name] = state.LastSeq
		case seen > state.LastSeq:
			return cursor{}, invalidCursor()
		case name == bus.StreamOutcome && seen < first:
			tooOld = true
		}
	}
	if tooOld {
		return cursor{}, &rpc.Error{
			Code: codes.OutOfRange, Reason: ReasonCursorOld, Message: "the cursor is too old",
			Fields: []rpc.Field{{Field: "cursor", Description: "the oldest valid cursor is " + oldest.String()}},
		}
	}
	return at, nil
}

func invalidCursor() *rpc.Error {
	return &rpc.Error{
		Code: codes.InvalidArgument, Reason: ReasonCursor, Message: "the cursor is not valid",
		Fields: []rpc.Field{{Field: "cursor", Description: "must be the cursor of an event of this queue"}},
	}
}

func unavailable(err error) *rpc.Error {
	return &rpc.Error{
		Code: codes.Unavailable, Reason: "QUEUE_UNAVAILABLE", Message: "the queue cannot be reached now",
		RetryAfter: 2 * time.Second, Err: err,
	}
}

// read hands on one stream.
func (w *Watcher) read(ctx context.Context, stream string, from uint64, out chan<- bus.Delivery) error {
	r, err := bus.NewReader(ctx, w.js, bus.ReaderOptions{Stream: stream, From: from, MaxBytes: readBytes})
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = r.Close() }()
	for {
		d, err := r.Next(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return unavailable(err)
		}
		select {
		case out <- d:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tell sends the events of one segment, each with the cursor behind it.
func (w *Watcher) tell(d bus.Delivery, at cursor, messageID string, send func(*gatewayv1.WatchEventsResponse) error) error {
	told := at.partly[d.Stream]
	if told.sequence != d.Sequence {
		told.told = 0
	}
	for i := told.told; i < d.Segment.Len(); i++ {
		if i+1 < d.Segment.Len() {
			at.partly[d.Stream] = begun{sequence: d.Sequence, told: i + 1}
		} else {
			delete(at.partly, d.Stream)
			at.last[d.Stream] = d.Sequence
		}
		frame, err := d.Segment.Frame(i)
		if err != nil {
			continue // the sender's to hold
		}
		event, err := w.eventOf(d, frame)
		if err != nil || messageID != "" && event.GetMessageId() != messageID {
			continue
		}
		event.Cursor, event.Time = at.String(), timestamppb.New(d.Time)
		if err := send(event); err != nil {
			return err
		}
	}
	at.last[d.Stream] = max(at.last[d.Stream], d.Sequence)
	return nil
}

// eventOf says what a record or outcome means.
func (w *Watcher) eventOf(d bus.Delivery, frame bus.Frame) (*gatewayv1.WatchEventsResponse, error) {
	if d.Stream == bus.StreamOutcome {
		o, err := frame.Outcome()
		if err != nil {
			return nil, err
		}
		event := &gatewayv1.WatchEventsResponse{MessageId: o.GetMessageId(), Kind: "attempted"}
		var all bool
		if event.Recipients, all = statusview.Outcome(o); all {
			event.Kind = "settled"
		}
		w.stand(event, changes.Mail{
			MessageID: o.GetMessageId(), Destination: o.GetDestination(), AcceptedAt: o.GetAcceptedAt().AsTime(),
		})
		return event, nil
	}
	record, err := frame.Mail()
	if err != nil {
		return nil, err
	}
	event := &gatewayv1.WatchEventsResponse{MessageId: record.GetMessageId(), Kind: "moved"}
	due := time.Time{}
	if minutes, ok := bus.RetryStreamMinutes(d.Stream); ok {
		due = d.Time.Add(time.Duration(minutes) * time.Minute)
	}
	if d.Stream == bus.StreamMail {
		event.Kind = "accepted"
	}
	event.Recipients = statusview.Record(record, due)
	w.stand(event, changes.Of(record))
	return event, nil
}

func (w *Watcher) stand(event *gatewayv1.WatchEventsResponse, mail changes.Mail) {
	if w.rules != nil {
		statusview.Stand(event.GetRecipients(), w.rules.Standing(mail))
	}
}
