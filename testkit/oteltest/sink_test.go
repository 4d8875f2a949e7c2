// SPDX-License-Identifier: Apache-2.0

package oteltest

import (
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

const patience = 30 * time.Second

// provider sends to a sink as a service of ours does.
func provider(t *testing.T, s *Sink, service string) *sdktrace.TracerProvider {
	t.Helper()
	exp, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(s.Addr()), otlptracegrpc.WithInsecure(),
		otlptracegrpc.WithCompressor("gzip"), otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: false}))
	if err != nil {
		t.Fatal(err)
	}
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exp),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", service))))
	t.Cleanup(func() { _ = tp.Shutdown(context.Background()) })
	return tp
}

func TestSpanArrivesWhole(t *testing.T) {
	t.Parallel()
	s := Start(t)
	tr := provider(t, s, "sender").Tracer("scope")
	before := time.Now()
	_, other := tr.Start(t.Context(), "other")
	ctx, root := tr.Start(t.Context(), "sender.attempt", trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(trace.Link{SpanContext: other.SpanContext(), Attributes: []attribute.KeyValue{attribute.Bool("x", true)}}))
	_, child := tr.Start(ctx, "sender.try_host", trace.WithAttributes(
		attribute.String("server.address", "mx1.example.test"), attribute.Int("smtp.reply.code", 421),
		attribute.Bool("ok", false), attribute.Float64("f", 1.5), attribute.StringSlice("list", []string{"a", "b"})))
	child.AddEvent("left", trace.WithAttributes(attribute.String("reason", "no_greeting")))
	child.SetStatus(otelcodes.Error, "broken")
	child.End()
	root.End()

	got := s.Await(patience, Named("sender.try_host", "smtp.reply.code", 421, "server.address", "mx1.example.test"))
	s.Await(patience, Named("sender.attempt"))
	want := map[string]any{
		"server.address": "mx1.example.test", "smtp.reply.code": int64(421), "ok": false, "f": 1.5,
		"list": []any{"a", "b"},
	}
	if !reflect.DeepEqual(got.Attributes, want) {
		t.Errorf("attributes %#v", got.Attributes)
	}
	if got.Str("server.address") != "mx1.example.test" || got.Int("smtp.reply.code") != 421 || got.Bool("ok") ||
		got.Str("missing") != "" || got.Int("ok") != 0 {
		t.Error("typed attributes differ")
	}
	if got.TraceID != root.SpanContext().TraceID().String() || got.ParentID != root.SpanContext().SpanID().String() ||
		got.SpanID != child.SpanContext().SpanID().String() || got.Remote {
		t.Errorf("ids %+v", got)
	}
	if got.Service() != "sender" || got.Scope != "scope" || got.Kind != "internal" || got.Status != "error" ||
		got.Message != "broken" {
		t.Errorf("span %+v", got)
	}
	if got.Start.Before(before) || got.End.Before(got.Start) || got.Duration() < 0 {
		t.Errorf("times %s to %s", got.Start, got.End)
	}
	if len(got.Events) != 1 || got.Events[0].Name != "left" || got.Events[0].Attributes["reason"] != "no_greeting" {
		t.Errorf("events %+v", got.Events)
	}
	tree := s.Trace(got.TraceID)
	parent, ok := tree.Parent(got)
	if !ok || parent.Name != "sender.attempt" || parent.Kind != "consumer" || parent.Status != "unset" {
		t.Fatalf("parent %+v", parent)
	}
	if l := parent.Links; len(l) != 1 || l[0].SpanID != other.SpanContext().SpanID().String() ||
		l[0].TraceID != other.SpanContext().TraceID().String() || l[0].Attributes["x"] != true {
		t.Errorf("links %+v", l)
	}
}

func TestRemoteParent(t *testing.T) {
	t.Parallel()
	s := Start(t)
	tr := provider(t, s, "gateway").Tracer("")
	sc := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4}, TraceFlags: trace.FlagsSampled, Remote: true,
	})
	_, sp := tr.Start(trace.ContextWithSpanContext(t.Context(), sc), "gateway.submit")
	sp.End()
	got := s.Await(patience, Named("gateway.submit"))
	if !got.Remote || got.ParentID != "0400000000000000" || got.TraceID != "01020300000000000000000000000000" {
		t.Errorf("span %+v", got)
	}
	if roots := s.Trace(got.TraceID).Roots(); len(roots) != 1 {
		t.Errorf("roots %+v", roots)
	}
}

func TestTraceTree(t *testing.T) {
	t.Parallel()
	s := Start(t)
	tr := provider(t, s, "x").Tracer("")
	ctx, root := tr.Start(t.Context(), "root")
	for _, name := range []string{"first", "second"} {
		c, sp := tr.Start(ctx, name)
		_, leaf := tr.Start(c, "leaf", trace.WithAttributes(attribute.String("of", name)))
		leaf.End()
		sp.End()
	}
	root.End()
	s.Await(patience, Named("root"))
	tree := s.Trace(root.SpanContext().TraceID().String())
	if len(tree.Roots()) != 1 || len(tree.Named("leaf")) != 2 || len(tree.Spans) != 5 {
		t.Fatalf("tree %s", tree)
	}
	kids := tree.Children(tree.Roots()[0])
	if len(kids) != 2 || kids[0].Name != "first" || kids[1].Name != "second" {
		t.Errorf("children %+v", kids)
	}
	leaf := tree.Children(kids[1])[0]
	if leaf.Str("of") != "second" || !tree.Under(leaf, tree.Roots()[0]) || !tree.Under(leaf, kids[1]) ||
		tree.Under(leaf, kids[0]) || tree.Under(tree.Roots()[0], leaf) {
		t.Errorf("leaf %+v", leaf)
	}
	lines := strings.Split(tree.String(), "\n")
	if !strings.HasPrefix(lines[1], "  root (x, ") || !strings.HasPrefix(lines[3], "      leaf (x, ") ||
		!strings.HasSuffix(lines[3], " of=first") {
		t.Errorf("drawing\n%s", tree)
	}
}

func TestTraceWithACycle(t *testing.T) {
	t.Parallel()
	a := Span{SpanID: "a", ParentID: "b", Name: "a"}
	b := Span{SpanID: "b", ParentID: "a", Name: "b"}
	tree := newTrace("x", []Span{a, b})
	if tree.Under(a, Span{SpanID: "c"}) || len(tree.Roots()) != 0 || tree.String() != "trace x\n" {
		t.Errorf("%s", tree)
	}
}

func TestWaitSpan(t *testing.T) {
	t.Parallel()
	s := Start(t)
	tr := provider(t, s, "x").Tracer("")
	type result struct {
		sp  Span
		err error
	}
	got := make(chan result)
	go func() {
		sp, err := s.WaitSpan(t.Context(), Named("late"))
		got <- result{sp, err}
	}()
	for _, name := range []string{"early", "late"} {
		_, sp := tr.Start(t.Context(), name)
		sp.End()
	}
	if r := <-got; r.err != nil || r.sp.Name != "late" {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.WaitSpan(ctx, Named("never"))
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "early") {
		t.Errorf("error %v does not say what arrived", err)
	}
	s.Forget()
	if n := len(s.Spans()); n != 0 {
		t.Errorf("%d spans after Forget", n)
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	sp := Span{Name: "a", Attributes: map[string]any{"k": []any{"x"}, "n": int64(1)}}
	for _, tc := range []struct {
		match func(Span) bool
		want  bool
	}{
		{Named("a"), true},
		{Named("b"), false},
		{Named("a", "n", 1), true},
		{Named("a", "n", int64(1)), true},
		{Named("a", "n", 2), false},
		{Named("a", "k", []any{"x"}), true},
		{Named("a", "missing", nil), false},
	} {
		if tc.match(sp) != tc.want {
			t.Errorf("matched is not %v", tc.want)
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	s := Start(t)
	exp, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(s.Addr()), otlptracegrpc.WithInsecure(),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: false}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = exp.Shutdown(context.Background()) }()
	s.Refuse(status.Error(codes.PermissionDenied, "the sink is full"))
	stub := []sdktrace.ReadOnlySpan{snapshot(t)}
	if err := exp.ExportSpans(t.Context(), stub); err == nil || !strings.Contains(err.Error(), "the sink is full") {
		t.Errorf("export: %v", err)
	}
	s.Refuse(nil)
	if err := exp.ExportSpans(t.Context(), stub); err != nil || len(s.Spans()) != 1 {
		t.Errorf("export: %v, %d spans", err, len(s.Spans()))
	}
}

// snapshot is any finished span.
func snapshot(t *testing.T) sdktrace.ReadOnlySpan {
	t.Helper()
	_, sp := sdktrace.NewTracerProvider().Tracer("").Start(t.Context(), "x")
	sp.End()
	return sp.(sdktrace.ReadOnlySpan)
}

func TestEnv(t *testing.T) {
	s, err := StartSink("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, kv := range s.Env() {
		k, v, _ := strings.Cut(kv, "=")
		t.Setenv(k, v)
	}
	exp, err := otlptracegrpc.New(t.Context()) // configured by the environment alone
	if err != nil {
		t.Fatal(err)
	}
	if err := exp.ExportSpans(t.Context(), []sdktrace.ReadOnlySpan{snapshot(t)}); err != nil {
		t.Error(err)
	}
	_ = exp.Shutdown(context.Background())
	if !slices.ContainsFunc(s.Spans(), Named("x")) {
		t.Error("the span is missing")
	}
	s.Close()
	s.Close()
	if _, err := StartSink("256.0.0.1:0"); err == nil {
		t.Error("an impossible address was taken")
	}
}

func TestKindsAndStatus(t *testing.T) {
	t.Parallel()
	s := Start(t)
	tr := provider(t, s, "x").Tracer("")
	for kind, want := range map[trace.SpanKind]string{
		trace.SpanKindServer: "server", trace.SpanKindClient: "client", trace.SpanKindProducer: "producer",
		trace.SpanKindConsumer: "consumer", trace.SpanKindInternal: "internal",
	} {
		_, sp := tr.Start(t.Context(), want, trace.WithSpanKind(kind))
		sp.SetStatus(otelcodes.Ok, "")
		sp.End()
		if got := s.Await(patience, Named(want)); got.Kind != want || got.Status != "ok" {
			t.Errorf("%s: %+v", want, got)
		}
	}
}

// TestValuesBeyondTheSDK takes what other languages may send: octets, maps and nothing.
func TestValuesBeyondTheSDK(t *testing.T) {
	t.Parallel()
	got := attributes([]*commonpb.KeyValue{
		{Key: "b", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BytesValue{BytesValue: []byte("x")}}},
		{Key: "m", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: &commonpb.KeyValueList{
			Values: []*commonpb.KeyValue{{Key: "n", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: 7}}}},
		}}}},
		{Key: "none"},
	})
	want := map[string]any{"b": []byte("x"), "m": map[string]any{"n": int64(7)}, "none": nil}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%#v", got)
	}
}
