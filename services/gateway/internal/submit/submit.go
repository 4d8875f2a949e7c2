// SPDX-License-Identifier: Apache-2.0

package submit

import (
	"context"
	"crypto/sha256"
	"hash"
	"time"

	"github.com/oklog/ulid/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/maillog"
	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/content"
	"github.com/postrider/postrider/services/gateway/internal/enqueue"
	"github.com/postrider/postrider/services/gateway/internal/envelope"
	"github.com/postrider/postrider/services/gateway/internal/idempotency"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect"
	"github.com/postrider/postrider/services/gateway/internal/refusals"
)

// Room says whether the queue takes mail now (G-13).
type Room interface {
	// Check returns an *rpc.Error when it does not. Notifications are taken a little longer than other mail.
	Check(notification bool) error
	// Take counts the bytes of a message that is about to be appended, or returns an *rpc.Error when they do not fit.
	Take(notification bool, bytes int64) error
}

// Options are the parts of a Submitter. All are required.
type Options struct {
	// Node is node.name.
	Node string
	// Rules are the limits of a content.
	Rules content.Rules
	// MaxHops is gateway.max_hops.
	MaxHops int
	// Sealer writes and reads trace headers, Repeats judges equal messages, Refusals keeps what was refused as a loop.
	Sealer   *loopdetect.Sealer
	Repeats  *loopdetect.Repeats
	Refusals *refusals.Book
	// Room, Queue and Keys are the way into the queue.
	Room  Room
	Queue *enqueue.Queue
	Keys  *idempotency.Keys
	// Tracer, Log and Meter take spans, event lines and metrics.
	Tracer trace.Tracer
	Log    maillog.Logger
	Meter  *Meter
	// Now is the clock.
	Now func() time.Time
}

// Submitter takes messages into the queue. It is safe for concurrent use.
type Submitter struct{ o Options }

// New returns a Submitter.
func New(o Options) *Submitter { return &Submitter{o: o} }

// Submit takes one message. The caller is the one of ctx (rpc.CallerFrom). When it returns a receipt the message is
// durable; the error is an *rpc.Error, the source's or that of ctx, and then nothing is queued or, in doubt, the
// idempotency key finds it (G-14).
func (s *Submitter) Submit(ctx context.Context, in *gatewayv1.Envelope, src content.Source) (*gatewayv1.Accepted, error) {
	return s.SubmitBy(ctx, in, src, Door{})
}

// SubmitBy is Submit for a message that came by another way than a call.
func (s *Submitter) SubmitBy(ctx context.Context, in *gatewayv1.Envelope, src content.Source, by Door) (*gatewayv1.Accepted, error) {
	ctx, span := s.o.Tracer.Start(ctx, "gateway.submit")
	defer span.End()
	t := &task{Submitter: s, in: in, by: by, m: enqueue.Message{ID: ulid.Make().String(), AcceptedAt: s.o.Now()}}
	accepted, err := t.run(ctx, src)
	if t.undo != nil && accepted.GetMessageId() != t.m.ID {
		t.undo(ctx)
	}
	if err != nil {
		answer := asRPC(err)
		t.refused(ctx, span, answer)
		return nil, answer
	}
	t.accepted(ctx, span, accepted)
	return accepted, nil
}

// task is one submission.
type task struct {
	*Submitter
	in     *gatewayv1.Envelope
	by     Door
	m      enqueue.Message
	digest hash.Hash             // over the submitted content; nil without a key
	undo   func(context.Context) // takes the message out of the count of its equals; may be nil
}

func (t *task) run(ctx context.Context, src content.Source) (*gatewayv1.Accepted, error) {
	caller := rpc.CallerFrom(ctx)
	checked, err := envelope.Check(t.in, caller, t.m.AcceptedAt)
	if err != nil {
		return nil, err
	}
	if err := t.o.Room.Check(checked.ReportsOn != ""); err != nil {
		return nil, err
	}
	t.m.Caller, t.m.Envelope = caller.Name, checked
	if checked.Key != "" {
		if err := t.o.Keys.Ready(); err != nil {
			return nil, err
		}
		t.digest = sha256.New()
	}
	if err := t.content(ctx, src); err != nil {
		return nil, err
	}
	if checked.Key != "" {
		return t.keyed(ctx)
	}
	if _, _, err := t.append(ctx); err != nil {
		return nil, err
	}
	return t.receipt(), nil
}

// append makes the message durable, if there is still room now that its size is known.
func (t *task) append(ctx context.Context) (at bus.Position, known bool, err error) {
	if err := t.o.Room.Take(t.m.Envelope.ReportsOn != "", t.m.Stored()); err != nil {
		t.o.Queue.Discard(ctx, &t.m)
		return bus.Position{}, false, err
	}
	return t.o.Queue.Append(ctx, &t.m)
}

// content checks the header, then the loop rules, then reads the body to where it is kept.
func (t *task) content(ctx context.Context, src content.Source) error {
	body := content.NewReader(src, t.by.rules(t.o.Rules), t.digest)
	head, err := body.ReadHeader()
	if err != nil {
		return err
	}
	loopHeader := t.loopHeader(head)
	begun, err := body.Peek(loopHeader.bodyBytes())
	if err != nil {
		return err
	}
	if err := t.loopCheck(ctx, loopHeader, begun); err != nil {
		return err
	}
	t.m.HeaderNotASCII, t.m.TLSOptional, t.m.MessageIDHeader = head.NotASCII, head.TLSOptional, head.MessageID
	body.Prepend(t.prefix(head))
	return t.o.Queue.Store(ctx, &t.m, body)
}

// prefix returns the header fields that are put in front (L-02, L-03, G-07).
func (t *task) prefix(head *content.Header) []byte {
	stamp := loopdetect.Trace{Instance: t.o.Node, MessageID: t.m.ID, Hop: t.m.Loop.GetHopNumber(), Recipients: t.o.Sealer.Recipients(t.keysOf())}
	fields := t.o.Sealer.Field(stamp)
	fields = append(fields, t.by.received(t.o.Node, t.m.ID, t.m.AcceptedAt)...)
	if !head.HasDate {
		fields = append(fields, "Date: "+t.m.AcceptedAt.Format(loopdetect.DateLayout)+"\r\n"...)
	}
	if !head.HasMessageID {
		t.m.MessageIDHeader = "<" + t.m.ID + "@" + t.o.Node + ">"
		fields = append(fields, "Message-ID: "+t.m.MessageIDHeader+"\r\n"...)
	}
	return fields
}

// keysOf returns the recipients in the form in which equal addresses are equal.
func (t *task) keysOf() []string {
	keys := make([]string, len(t.m.Envelope.Recipients))
	for i, r := range t.m.Envelope.Recipients {
		keys[i] = r.Address.Local + "@" + r.Destination
	}
	return keys
}

// keyed appends a message with an idempotency key, or finds the one that is there under it (G-12).
func (t *task) keyed(ctx context.Context) (*gatewayv1.Accepted, error) {
	t.m.KeyHash = bus.KeyHash(t.m.Envelope.Tenant, t.m.Envelope.Key)
	t.m.Digest = idempotency.Digest(t.in, t.digest.Sum(nil))
	earlier, found, err := t.o.Keys.Before(ctx, t.m.KeyHash, t.m.Digest, t.o.Now())
	if err != nil || found {
		t.o.Queue.Discard(ctx, &t.m)
		return t.first(earlier, err)
	}
	at, known, err := t.append(ctx)
	if err != nil {
		return nil, err
	}
	if !known {
		return t.receipt(), nil
	}
	earlier, err = t.o.Keys.After(ctx, at, t.m.Digest)
	if earlier.MessageID == t.m.ID {
		return t.receipt(), nil // our own, whose first answer was lost
	}
	if earlier.MessageID != "" {
		t.o.Queue.Discard(ctx, &t.m) // another's, surely; with the queue away it may still be ours
	}
	return t.first(earlier, err)
}

// receipt is the answer for a message that is durable now.
func (t *task) receipt() *gatewayv1.Accepted {
	return &gatewayv1.Accepted{
		MessageId: t.m.ID, AcceptedAt: timestamppb.New(t.m.AcceptedAt),
		Recipients: uint32(len(t.m.Envelope.Recipients)), Refused: t.m.Envelope.Refused,
	}
}

// first is the first answer to a key again, or why there is none.
func (t *task) first(e idempotency.Earlier, err error) (*gatewayv1.Accepted, error) {
	if err != nil {
		return nil, err
	}
	return &gatewayv1.Accepted{
		MessageId: e.MessageID, Duplicate: true, AcceptedAt: timestamppb.New(e.AcceptedAt),
		Recipients: uint32(e.Recipients), Refused: t.m.Envelope.Refused,
	}, nil
}

// accepted records that a message was taken.
func (t *task) accepted(ctx context.Context, span trace.Span, a *gatewayv1.Accepted) {
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("mail.message_id", a.GetMessageId()), attribute.Bool("mail.duplicate", a.GetDuplicate()),
			attribute.Int("mail.recipients", int(a.GetRecipients())), attribute.Int64("mail.size", int64(t.m.Facts.Size)),
			attribute.Int("mail.recipients_refused", len(a.GetRefused())),
		)
	}
	t.o.Meter.accepted(ctx, a.GetDuplicate(), t.m.Facts.Size)
	if a.GetDuplicate() {
		return
	}
	t.o.Log.Accepted(ctx, maillog.Event{
		MessageID: t.m.ID, Domain: t.m.Envelope.Recipients[0].Destination, Recipients: len(t.m.Envelope.Recipients),
		Size: int64(t.m.Facts.Size), Caller: t.m.Caller,
	})
}

// refused records why a message was not taken.
func (t *task) refused(ctx context.Context, span trace.Span, err *rpc.Error) {
	span.SetStatus(codes.Error, err.Reason)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("mail.message_id", t.m.ID), attribute.String("mail.reason", err.Reason))
	}
	t.o.Meter.refused(ctx, err.Reason)
	t.o.Log.Refused(ctx, maillog.Event{MessageID: t.m.ID, Caller: rpc.CallerFrom(ctx).Name, Reason: err.Reason})
}
