// SPDX-License-Identifier: Apache-2.0

package oteltest

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // exporters may compress
)

// maxMessage bounds one export request.
const maxMessage = 64 << 20

// Sink receives spans.
type Sink struct {
	coltrace.UnimplementedTraceServiceServer

	tb   testing.TB // nil outside of tests
	addr string
	srv  *grpc.Server
	done chan struct{} // the server has ended

	mu      sync.Mutex
	changed chan struct{} // closed and renewed with every export
	spans   []Span
	fail    error
}

// Start runs a sink for a test; its end closes it.
func Start(tb testing.TB) *Sink {
	tb.Helper()
	s, err := StartSink("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.tb = tb
	tb.Cleanup(s.Close)
	return s
}

// StartSink runs a sink on an address and port outside of tests; the caller calls Close.
func StartSink(addr string) (*Sink, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("oteltest: %w", err)
	}
	s := &Sink{
		addr: l.Addr().String(), srv: grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage)),
		done: make(chan struct{}), changed: make(chan struct{}),
	}
	coltrace.RegisterTraceServiceServer(s.srv, s)
	go func() {
		defer close(s.done)
		_ = s.srv.Serve(l) // returns when Close stops it
	}()
	return s, nil
}

// Addr is the address and port it listens on.
func (s *Sink) Addr() string { return s.addr }

// Env is the environment that makes a process send its traces here: OTLP over gRPC, each span soon after its end.
func (s *Sink) Env() []string {
	return []string{
		"OTEL_TRACES_EXPORTER=otlp",
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + s.addr,
		"OTEL_EXPORTER_OTLP_INSECURE=true",
		"OTEL_BSP_SCHEDULE_DELAY=50",
	}
}

// Export implements the OTLP trace service.
func (s *Sink) Export(
	_ context.Context, req *coltrace.ExportTraceServiceRequest,
) (*coltrace.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	for _, rs := range req.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, p := range ss.GetSpans() {
				s.spans = append(s.spans, newSpan(p, ss.GetScope(), rs.GetResource()))
			}
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return &coltrace.ExportTraceServiceResponse{}, nil
}

// Refuse makes every export fail with err, for instance a status error of gRPC; nil takes them again.
func (s *Sink) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// Spans are all spans so far in the order in which they arrived.
func (s *Sink) Spans() []Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.spans)
}

// Forget drops the spans so far.
func (s *Sink) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans = nil
}

// Find gives the spans so far that match.
func (s *Sink) Find(match func(Span) bool) []Span {
	return slices.DeleteFunc(s.Spans(), func(sp Span) bool { return !match(sp) })
}

// WaitFor returns once ok holds for the spans so far; it is asked after every export. The error says what had arrived
// when the context ended.
func (s *Sink) WaitFor(ctx context.Context, ok func([]Span) bool) error {
	for {
		s.mu.Lock()
		spans, changed := slices.Clone(s.spans), s.changed
		s.mu.Unlock()
		if ok(spans) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("oteltest: %w with %d spans:\n%s", ctx.Err(), len(spans), outline(spans))
		}
	}
}

// WaitSpan returns the first span that matches, once it has arrived.
func (s *Sink) WaitSpan(ctx context.Context, match func(Span) bool) (Span, error) {
	var found Span
	err := s.WaitFor(ctx, func(spans []Span) bool {
		i := slices.IndexFunc(spans, match)
		if i >= 0 {
			found = spans[i]
		}
		return i >= 0
	})
	return found, err
}

// Await is WaitSpan for a test: it fails the test when the span has not arrived within limit.
func (s *Sink) Await(limit time.Duration, match func(Span) bool) Span {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	sp, err := s.WaitSpan(ctx, match)
	if err != nil {
		s.tb.Fatal(err)
	}
	return sp
}

// Named matches spans by name and, if given, by attributes: key and value in turn, values as in Span.Attributes; an
// int stands for an int64.
func Named(name string, keyValues ...any) func(Span) bool {
	return func(s Span) bool {
		if s.Name != name {
			return false
		}
		for i := 0; i+1 < len(keyValues); i += 2 {
			key, _ := keyValues[i].(string)
			want := keyValues[i+1]
			if n, ok := want.(int); ok {
				want = int64(n)
			}
			if got, ok := s.Attributes[key]; !ok || !reflect.DeepEqual(got, want) {
				return false
			}
		}
		return true
	}
}

// Trace gives the spans of one trace so far as a tree.
func (s *Sink) Trace(traceID string) *Trace {
	return newTrace(traceID, s.Find(func(sp Span) bool { return sp.TraceID == traceID }))
}

// Close ends the sink and its connections. It may be called more than once.
func (s *Sink) Close() {
	s.srv.Stop()
	<-s.done
}
