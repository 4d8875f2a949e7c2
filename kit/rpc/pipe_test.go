// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// TestPipe_NamesItselfInSpans: both ends of a call over memory say so, and not what the pipe is made of.
func TestPipe_NamesItselfInSpans(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	r := start(t, ServerOptions{Tracer: tracer})
	if err := r.preview(t, ClientOptions{InMemory: r.pipe, Token: r.pipe.Issue("x", AllRights()...), Tracer: tracer}); err != nil {
		t.Fatal(err)
	}
	r.stop() // the server's span ends before Serve does
	if err := <-r.ended; err != nil {
		t.Fatal(err)
	}
	r.ended <- nil
	if got := spans.Ended(); len(got) != 2 {
		t.Fatalf("%d spans, want those of client and server", len(got))
	}
	for _, span := range spans.Ended() {
		named := false
		for _, a := range span.Attributes() {
			if a.Key == "server.address" && a.Value.AsString() != "in-process" {
				t.Errorf("%s span: server.address %q", span.SpanKind(), a.Value.AsString())
			}
			named = named || a.Key == "server.address"
		}
		if !named {
			t.Errorf("%s span has no server.address: %v", span.SpanKind(), span.Attributes())
		}
	}
}
