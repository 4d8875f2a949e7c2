// SPDX-License-Identifier: Apache-2.0

package enqueue

import (
	"bytes"
	"context"
	"io"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	"github.com/postrider/postrider/kit/telemetry"
	"github.com/postrider/postrider/services/gateway/internal/content"
)

// Bodies is the body store as far as acceptance needs it (kit/bodystore).
type Bodies interface {
	// Put stores a content durably before it returns.
	Put(ctx context.Context, id string, r io.Reader) (ref string, size int64, err error)
	// Delete forgets a content.
	Delete(ctx context.Context, ref string) error
}

// Appender is the queue as far as acceptance needs it (kit/bus.Appender).
type Appender interface {
	Append(ctx context.Context, frames []bus.Frame) (bus.Position, error)
	AppendKeyed(ctx context.Context, msgID string, frames []bus.Frame) (bus.Position, bool, error)
}

// Queue appends messages. It is safe for concurrent use.
type Queue struct {
	appender Appender
	bodies   Bodies
	tracer   trace.Tracer
}

// NewQueue returns a Queue over an appender to all partitions and a body store.
func NewQueue(appender Appender, bodies Bodies, tracer trace.Tracer) *Queue {
	return &Queue{appender: appender, bodies: bodies, tracer: tracer}
}

// Store reads the rest of a content. A small one is kept in m.Inline; a larger one, or one that many records share,
// goes to the body store piece by piece, and m.BodyRef says where it is. What was stored of a content that turns out to
// be at fault is gone again when Store returns. The error is a *content.Fault, the source's, or an *rpc.Error.
func (q *Queue) Store(ctx context.Context, m *Message, body *content.Reader) error {
	limit := InlineLimit(Parts(m.Envelope))
	head := make([]byte, 0, min(limit, 4096))
	for len(head) <= limit {
		piece, err := body.Next()
		if err == io.EOF { //nolint:errorlint // Next returns it bare
			m.Inline, m.Facts = head, body.Facts()
			return nil
		}
		if err != nil {
			return err
		}
		head = append(head, piece...)
	}
	ref, _, err := q.bodies.Put(ctx, m.ID, io.MultiReader(bytes.NewReader(head), body))
	if err != nil {
		return bodyError(ctx, err)
	}
	m.BodyRef, m.Facts = ref, body.Facts()
	return nil
}

// Append makes the message durable. For a message with an idempotency key, known says that a submission under that key
// is in the queue already, at the position that is returned; it may be this very one, when an earlier answer was lost.
// The error is an *rpc.Error; then nothing was queued, or only the key can tell (G-14).
func (q *Queue) Append(ctx context.Context, m *Message) (at bus.Position, known bool, err error) {
	ctx, span := q.tracer.Start(ctx, "queue.enqueue", trace.WithSpanKind(trace.SpanKindProducer))
	defer span.End()
	frames, err := q.frames(ctx, m)
	if err != nil {
		return bus.Position{}, false, err
	}
	crashpoint.At("gateway.accept.before")
	if m.KeyHash == nil {
		at, err = q.appender.Append(ctx, frames)
	} else {
		at, known, err = q.appender.AppendKeyed(ctx, bus.KeyedMsgID(m.KeyHash), frames)
	}
	crashpoint.At("gateway.accept.after")
	if err != nil {
		err = q.refused(ctx, m, err)
		span.RecordError(err)
		return bus.Position{}, false, err
	}
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("messaging.system", "nats"),
			attribute.String("messaging.operation.name", "publish"),
			attribute.String("messaging.operation.type", "send"),
			attribute.String("messaging.destination.name", at.Stream),
			attribute.String("messaging.message.id", m.ID),
			attribute.Int("messaging.batch.message_count", len(frames)),
			attribute.Int64("mail.queue.sequence", int64(at.Sequence)),
			attribute.Bool("mail.queue.inline", m.BodyRef == ""),
			attribute.Bool("mail.queue.duplicate", known),
		)
	}
	return at, known, nil
}

// frames returns the records. When long envelopes leave no room for the content behind them it goes to the body store
// after all.
func (q *Queue) frames(ctx context.Context, m *Message) ([]bus.Frame, error) {
	frames, err := m.records(telemetry.InjectRecord(ctx))
	if err != nil || m.BodyRef != "" {
		return frames, err
	}
	size := 0
	for _, f := range frames {
		size += f.Size()
	}
	if size <= bus.MaxGroupBytes {
		return frames, nil
	}
	if m.BodyRef, _, err = q.bodies.Put(ctx, m.ID, bytes.NewReader(m.Inline)); err != nil {
		return nil, bodyError(ctx, err)
	}
	return m.records(telemetry.InjectRecord(ctx))
}

// Discard forgets a content that no record needs. What cannot be deleted now is swept later as an orphan.
func (q *Queue) Discard(ctx context.Context, m *Message) {
	if m.BodyRef == "" {
		return
	}
	ctx = context.WithoutCancel(ctx)
	_ = q.bodies.Delete(ctx, m.BodyRef) // the sweep of orphans finds it (queue.md, section 2)
}
