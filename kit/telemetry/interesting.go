// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"encoding/binary"
	"math"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Bounds of what is held back until a trace is decided.
const (
	tailHold     = 30 * time.Second
	tailSweep    = time.Second
	tailTraces   = 20_000
	tailSpans    = 60_000
	tailPerTrace = 512
)

// Attributes by which a span tells the decision about its trace.
const (
	keepKey    = attribute.Key("postrider.trace.keep")
	settledKey = attribute.Key("postrider.trace.settled")
)

// MarkInteresting marks the trace of the span in ctx to be exported with telemetry.traces: interesting: a failover, a
// deferral, a bounce, a loop decision. With the other settings it changes nothing but an attribute. A span that ends with
// an error status counts as marked.
func MarkInteresting(ctx context.Context) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(keepKey.Bool(true))
	}
}

// MarkSettled tells that nothing more of note will happen in the trace of the span in ctx once that span has ended: the
// end of an attempt that delivered. The trace is then decided at once, by its share when nobody marked it.
func MarkSettled(ctx context.Context) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(settledKey.Bool(true))
	}
}

// tail holds the spans of a trace back until the trace is known to be interesting or settled, or for a bounded time and
// number. What is decided without a mark goes by a share of the trace ids, which is the same in every process, so that
// a trace kept by one service is kept by the others.
type tail struct {
	next  sdktrace.SpanProcessor
	share uint64 // of 2^63: traces whose id is below are kept
	stop  chan struct{}
	ended chan struct{}

	mu     sync.Mutex
	closed bool
	traces map[trace.TraceID]*heldTrace
	order  []trace.TraceID // oldest first
	held   int             // spans in all of traces
}

type heldTrace struct {
	since   time.Time
	spans   []sdktrace.ReadOnlySpan
	decided bool
	keep    bool
}

func newTail(next sdktrace.SpanProcessor, share float64) *tail {
	t := &tail{next: next, stop: make(chan struct{}), ended: make(chan struct{}), traces: map[trace.TraceID]*heldTrace{}}
	t.share = uint64(math.Min(math.Max(share, 0), 1) * (1 << 63))
	go t.sweep()
	return t
}

// OnStart hands on (sdktrace.SpanProcessor).
func (t *tail) OnStart(parent context.Context, s sdktrace.ReadWriteSpan) { t.next.OnStart(parent, s) }

// OnEnd holds the span back, or decides its trace (sdktrace.SpanProcessor).
func (t *tail) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	interesting, settled := marks(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	id := s.SpanContext().TraceID()
	h := t.traces[id]
	if h == nil {
		h = t.admit(id)
	}
	switch {
	case interesting && !h.keep:
		t.decide(h, true)
	case !h.decided && (settled || len(h.spans) >= tailPerTrace):
		t.hold(h, s)
		t.decide(h, t.inShare(id))
		return
	}
	switch {
	case h.keep:
		t.next.OnEnd(s)
	case !h.decided:
		t.hold(h, s)
	}
}

// marks reads the decision attributes of a span.
func marks(s sdktrace.ReadOnlySpan) (interesting, settled bool) {
	interesting = s.Status().Code == codes.Error
	for _, a := range s.Attributes() {
		switch a.Key {
		case keepKey:
			interesting = interesting || a.Value.AsBool()
		case settledKey:
			settled = a.Value.AsBool()
		}
	}
	return interesting, settled
}

// admit makes room and begins to hold a trace.
func (t *tail) admit(id trace.TraceID) *heldTrace {
	for len(t.order) > 0 && (len(t.order) >= tailTraces || t.held >= tailSpans) {
		t.forgetOldest()
	}
	h := &heldTrace{since: time.Now()}
	t.traces[id] = h
	t.order = append(t.order, id)
	return h
}

func (t *tail) hold(h *heldTrace, s sdktrace.ReadOnlySpan) {
	h.spans = append(h.spans, s)
	t.held++
}

// decide hands on or drops what is held of a trace.
func (t *tail) decide(h *heldTrace, keep bool) {
	h.decided, h.keep = true, keep
	if keep {
		for _, s := range h.spans {
			t.next.OnEnd(s)
		}
	}
	t.held -= len(h.spans)
	h.spans = nil
}

// inShare reports a trace that is kept without a mark: the low 63 bits of its id, which W3C wants random.
func (t *tail) inShare(id trace.TraceID) bool {
	return binary.BigEndian.Uint64(id[8:])>>1 < t.share
}

func (t *tail) forgetOldest() {
	id := t.order[0]
	t.order = t.order[1:]
	if h := t.traces[id]; !h.decided {
		t.decide(h, t.inShare(id))
	}
	delete(t.traces, id)
}

// sweep decides and forgets traces that were held long enough.
func (t *tail) sweep() {
	defer close(t.ended)
	ticker := time.NewTicker(tailSweep)
	defer ticker.Stop()
	for {
		select {
		case <-t.stop:
			return
		case now := <-ticker.C:
			t.mu.Lock()
			for len(t.order) > 0 && now.Sub(t.traces[t.order[0]].since) >= tailHold {
				t.forgetOldest()
			}
			t.mu.Unlock()
		}
	}
}

// ForceFlush hands on; what is undecided stays (sdktrace.SpanProcessor).
func (t *tail) ForceFlush(ctx context.Context) error { return t.next.ForceFlush(ctx) }

// Shutdown decides what is left and ends (sdktrace.SpanProcessor).
func (t *tail) Shutdown(ctx context.Context) error {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	for len(t.order) > 0 {
		t.forgetOldest()
	}
	t.mu.Unlock()
	if first {
		close(t.stop)
	}
	<-t.ended
	return t.next.Shutdown(ctx)
}
