// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"strings"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Header fields of the W3C trace context, in lower case as it writes them.
const (
	headerTraceparent = "traceparent"
	headerTracestate  = "tracestate"
	// maxState bounds the tracestate we hand on, in bytes (W3C Trace Context, section 3.3.1.5).
	maxState = 512
)

// InjectRecord returns the trace context of ctx for a record of the queue, nil when ctx is not traced.
func InjectRecord(ctx context.Context) *eventv1.TraceContext {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	if carrier[headerTraceparent] == "" {
		return nil
	}
	state := carrier[headerTracestate]
	if len(state) > maxState {
		state = ""
	}
	return &eventv1.TraceContext{Traceparent: carrier[headerTraceparent], Tracestate: state}
}

// ExtractRecord returns ctx with the trace context of a record as its remote parent, so that a span started in it joins
// the trace of the message. Nil and malformed contexts leave ctx as it is.
func ExtractRecord(ctx context.Context, tc *eventv1.TraceContext) context.Context {
	if tc.GetTraceparent() == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{
		headerTraceparent: tc.GetTraceparent(),
		headerTracestate:  tc.GetTracestate(),
	})
}

// Traceparent returns the W3C traceparent of the span in ctx, "" when ctx is not traced.
func Traceparent(ctx context.Context) string { return InjectRecord(ctx).GetTraceparent() }

// LinkTo returns a link to the span a traceparent names, for an attempt that follows another; ok is false when it names
// none.
func LinkTo(traceparent string) (link trace.Link, ok bool) {
	ctx := ExtractRecord(context.Background(), &eventv1.TraceContext{Traceparent: traceparent})
	sc := trace.SpanContextFromContext(ctx)
	return trace.Link{SpanContext: sc}, sc.IsValid()
}

// HeaderCarrier carries trace context in NATS headers under lower-case keys. It reads keys of any case, since
// nats.Header is case-sensitive and others write them in theirs.
type HeaderCarrier nats.Header

// Get returns the first value of a key (propagation.TextMapCarrier).
func (c HeaderCarrier) Get(key string) string {
	if values := c[key]; len(values) > 0 {
		return values[0]
	}
	for name, values := range c {
		if len(values) > 0 && strings.EqualFold(name, key) {
			return values[0]
		}
	}
	return ""
}

// Set sets a key (propagation.TextMapCarrier).
func (c HeaderCarrier) Set(key, value string) { c[strings.ToLower(key)] = []string{value} }

// Keys returns the keys (propagation.TextMapCarrier).
func (c HeaderCarrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for name := range c {
		keys = append(keys, name)
	}
	return keys
}

// Inject writes the trace context of ctx to the headers, which must not be nil.
func Inject(ctx context.Context, h nats.Header) {
	propagation.TraceContext{}.Inject(ctx, HeaderCarrier(h))
}

// Extract returns ctx with the trace context of the headers as its remote parent.
func Extract(ctx context.Context, h nats.Header) context.Context {
	return propagation.TraceContext{}.Extract(ctx, HeaderCarrier(h))
}
