// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// tailed is a tail processor in front of a recorder, and tracers with chosen trace ids.
type tailed struct {
	*tail
	out    *tracetest.SpanRecorder
	tracer trace.Tracer
}

func newTailed(t *testing.T, share float64) *tailed {
	t.Helper()
	out := tracetest.NewSpanRecorder()
	tl := newTail(out, share)
	t.Cleanup(func() { _ = tl.Shutdown(context.Background()) })
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(tl), sdktrace.WithSampler(sdktrace.AlwaysSample()))
	return &tailed{tail: tl, out: out, tracer: provider.Tracer("test")}
}

// span makes an ended span of trace n; edit may mark it.
func (t *tailed) span(n uint64, name string, edit func(context.Context, trace.Span)) {
	var id trace.TraceID
	id[0] = 1
	binary.BigEndian.PutUint64(id[8:], n)
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled, Remote: true})
	ctx, span := t.tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), sc), name)
	if edit != nil {
		edit(ctx, span)
	}
	span.End()
}

func mark(ctx context.Context, _ trace.Span)    { MarkInteresting(ctx) }
func settle(ctx context.Context, _ trace.Span)  { MarkSettled(ctx) }
func failed(_ context.Context, span trace.Span) { span.SetStatus(codes.Error, "x") }

func (t *tailed) names() string {
	names := ""
	for _, s := range t.out.Ended() {
		names += s.Name() + " "
	}
	return names
}

func TestTail_MarkedTracesAreKeptWhole(t *testing.T) {
	for name, edit := range map[string]func(context.Context, trace.Span){"marked": mark, "failed": failed} {
		t.Run(name, func(t *testing.T) {
			tl := newTailed(t, 0)
			tl.span(1, "a", nil)
			tl.span(2, "other", nil)
			tl.span(1, "b", nil)
			if got := tl.names(); got != "" {
				t.Errorf("handed on before the decision: %s", got)
			}
			tl.span(1, "c", edit)
			tl.span(1, "d", nil)
			if got := tl.names(); got != "a b c d " {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestTail_SettledTracesGoByShare(t *testing.T) {
	none, all := newTailed(t, 0), newTailed(t, 1)
	for _, tl := range []*tailed{none, all} {
		tl.span(1, "a", nil)
		tl.span(1, "b", settle)
		tl.span(1, "c", nil)
	}
	if got := none.names(); got != "" {
		t.Errorf("share 0 kept %s", got)
	}
	if got := all.names(); got != "a b c " {
		t.Errorf("share 1 kept %s", got)
	}
	if none.held != 0 || all.held != 0 {
		t.Errorf("still held: %d, %d", none.held, all.held)
	}
}

func TestTail_MarkAndSettleOnOneSpanKeeps(t *testing.T) {
	tl := newTailed(t, 0)
	tl.span(1, "a", nil)
	tl.span(1, "b", func(ctx context.Context, _ trace.Span) { MarkInteresting(ctx); MarkSettled(ctx) })
	if got := tl.names(); got != "a b " {
		t.Errorf("got %s", got)
	}
}

// A message that was delivered to one recipient and then bounced for another: what comes after the mark is kept.
func TestTail_AMarkAfterTheDecisionKeepsTheRest(t *testing.T) {
	tl := newTailed(t, 0)
	tl.span(1, "a", settle)
	tl.span(1, "b", mark)
	tl.span(1, "c", nil)
	if got := tl.names(); got != "b c " {
		t.Errorf("got %s", got)
	}
}

func TestTail_ShareIsOfTheTraceID(t *testing.T) {
	first, second := newTailed(t, 0.25), newTailed(t, 0.25)
	kept := 0
	for n := uint64(0); n < 1000; n++ {
		id := n * 0x9E3779B97F4A7C15
		first.span(id, "a", settle)
		second.span(id, "a", settle)
	}
	kept = len(first.out.Ended())
	if kept < 200 || kept > 300 {
		t.Errorf("%d of 1000 kept with a share of 0.25", kept)
	}
	if other := len(second.out.Ended()); other != kept {
		t.Errorf("another process kept %d, not %d", other, kept)
	}
}

func TestTail_HoldsForABoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tl := newTailed(t, 1)
		tl.span(1, "a", nil)
		time.Sleep(tailHold - 2*tailSweep)
		synctest.Wait()
		if got := tl.names(); got != "" {
			t.Errorf("decided early: %s", got)
		}
		time.Sleep(4 * tailSweep)
		synctest.Wait()
		if got := tl.names(); got != "a " {
			t.Errorf("got %q", got)
		}
		if len(tl.traces) != 0 || len(tl.order) != 0 || tl.held != 0 {
			t.Errorf("left: %d traces, %d in order, %d spans", len(tl.traces), len(tl.order), tl.held)
		}
		_ = tl.Shutdown(context.Background())
	})
}

func TestTail_HoldsABoundedNumber(t *testing.T) {
	tl := newTailed(t, 1)
	for range tailPerTrace + 10 {
		tl.span(1, "a", nil)
	}
	if n := len(tl.out.Ended()); n != tailPerTrace+10 {
		t.Errorf("a trace of many spans: %d handed on", n)
	}
	few := newTailed(t, 0)
	for n := range uint64(tailTraces + 100) {
		few.span(n+1, "a", nil)
	}
	if len(few.traces) > tailTraces || len(few.order) > tailTraces || few.held > tailSpans {
		t.Errorf("%d traces, %d in order, %d spans", len(few.traces), len(few.order), few.held)
	}
	many := newTailed(t, 0)
	for n := range uint64(200) {
		for range tailPerTrace - 1 {
			many.span(n+1, "a", nil)
		}
	}
	if many.held > tailSpans+tailPerTrace {
		t.Errorf("%d spans held", many.held)
	}
}

func TestTail_ShutdownDecidesWhatIsLeft(t *testing.T) {
	for share, want := range map[float64]string{0: "", 1: "a "} {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			tl := newTailed(t, share)
			tl.span(1, "a", nil)
			for range 2 {
				if err := tl.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
			}
			tl.span(1, "late", mark)
			if got := tl.names(); got != want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestTail_ManyAtOnce(t *testing.T) {
	tl := newTailed(t, 0)
	var group sync.WaitGroup
	for n := range uint64(16) {
		group.Go(func() {
			for i := range uint64(50) {
				tl.span(n*100+i+1, "a", nil)
				tl.span(n*100+i+1, "b", mark)
				tl.span(n*100+i+1, "c", settle)
			}
		})
	}
	group.Wait()
	if n := len(tl.out.Ended()); n != 16*50*3 {
		t.Errorf("%d spans, want all", n)
	}
}

func TestMarks_WithoutASpanDoNothing(t *testing.T) {
	MarkInteresting(context.Background())
	MarkSettled(context.Background())
}
