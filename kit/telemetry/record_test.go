// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// TestO01_RecordCarriesTheTrace: a span started from a record is a child of the one the record was made in.
func TestO01_RecordCarriesTheTrace(t *testing.T) {
	tracer := sdktrace.NewTracerProvider().Tracer("test")
	ctx, submit := tracer.Start(context.Background(), "gateway.submit")
	tc := InjectRecord(ctx)
	if tc.GetTraceparent() == "" || tc.GetTraceparent() != Traceparent(ctx) {
		t.Fatalf("got %v", tc)
	}
	_, attempt := tracer.Start(ExtractRecord(context.Background(), tc), "sender.attempt")
	got := attempt.(sdktrace.ReadOnlySpan)
	if got.SpanContext().TraceID() != submit.SpanContext().TraceID() || got.Parent().SpanID() != submit.SpanContext().SpanID() || !got.Parent().IsRemote() {
		t.Errorf("attempt %v under %v, want under %v", got.SpanContext(), got.Parent(), submit.SpanContext())
	}
}

func TestInjectRecord_WithoutTraceIsNothing(t *testing.T) {
	if tc := InjectRecord(context.Background()); tc != nil {
		t.Errorf("got %v", tc)
	}
	if got := Traceparent(context.Background()); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestRecord_KeepsTracestate(t *testing.T) {
	sent := &eventv1.TraceContext{Traceparent: parent, Tracestate: "vendor=value,other=1"}
	got := InjectRecord(ExtractRecord(context.Background(), sent))
	if got.GetTraceparent() != sent.GetTraceparent() || got.GetTracestate() != sent.GetTracestate() {
		t.Errorf("sent %v, got %v", sent, got)
	}
	long := make([]string, 0, 30)
	for c := 'a'; c <= 'z'; c++ {
		long = append(long, string(c)+"="+strings.Repeat("x", 40))
	}
	state, err := trace.ParseTraceState(strings.Join(long, ","))
	if err != nil {
		t.Fatal(err)
	}
	sc := trace.SpanContextFromContext(ExtractRecord(context.Background(), sent)).WithTraceState(state)
	got = InjectRecord(trace.ContextWithRemoteSpanContext(context.Background(), sc))
	if got.GetTraceparent() == "" || got.GetTracestate() != "" {
		t.Errorf("a state of %d bytes was stored as %q", len(state.String()), got.GetTracestate())
	}
}

func TestExtractRecord_MalformedContextsChangeNothing(t *testing.T) {
	for _, bad := range []string{
		"", "x", parent[:54], "ff" + parent[2:], strings.ToUpper(parent), strings.Repeat("0", 55), parent + strings.Repeat("0", 1<<16),
		"00-00000000000000000000000000000000-b7ad6b7169203331-01",
	} {
		ctx := ExtractRecord(context.Background(), &eventv1.TraceContext{Traceparent: bad})
		if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
			t.Errorf("%.60q gave %v", bad, sc)
		}
		if _, ok := LinkTo(bad); ok {
			t.Errorf("%.60q is a link", bad)
		}
	}
	if ExtractRecord(context.Background(), nil) != context.Background() {
		t.Error("nil changed the context")
	}
}

func TestLinkTo(t *testing.T) {
	link, ok := LinkTo(parent)
	if !ok || link.SpanContext.TraceID().String() != parent[3:35] || link.SpanContext.SpanID().String() != parent[36:52] {
		t.Errorf("got %+v %v", link, ok)
	}
}

func TestHeaderCarrier_WritesLowerReadsAnyCase(t *testing.T) {
	h := nats.Header{}
	Inject(ExtractRecord(context.Background(), &eventv1.TraceContext{Traceparent: parent, Tracestate: "a=b"}), h)
	if got := h["traceparent"]; len(got) != 1 || got[0] != parent {
		t.Errorf("headers %v", h)
	}
	if keys := HeaderCarrier(h).Keys(); !slices.Contains(keys, "tracestate") || len(keys) != 2 {
		t.Errorf("keys %v", keys)
	}
	for _, key := range []string{"traceparent", "Traceparent", "TRACEPARENT"} {
		sc := trace.SpanContextFromContext(Extract(context.Background(), nats.Header{key: {parent}}))
		if sc.TraceID().String() != parent[3:35] {
			t.Errorf("%s was not read", key)
		}
	}
	for _, h := range []nats.Header{nil, {}, {"traceparent": nil}, {"Traceparent": {}}} {
		if trace.SpanContextFromContext(Extract(context.Background(), h)).IsValid() {
			t.Errorf("%v gave a context", h)
		}
	}
	HeaderCarrier(h).Set("TraceParent", "x")
	if len(h) != 2 || h["traceparent"][0] != "x" {
		t.Errorf("set a second key: %v", h)
	}
}
