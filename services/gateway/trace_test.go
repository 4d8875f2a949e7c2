// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/runner"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect"
)

// span returns the spans of a name that ended.
func (h *harness) ended(name string) []sdktrace.ReadOnlySpan {
	var list []sdktrace.ReadOnlySpan
	for _, s := range h.spans.Ended() {
		if s.Name() == name {
			list = append(list, s)
		}
	}
	return list
}

func value(s sdktrace.ReadOnlySpan, key string) string {
	for _, a := range s.Attributes() {
		if a.Key == attribute.Key(key) {
			return a.Value.String()
		}
	}
	return ""
}

func TestO01_SpansJoinTheCallersTrace(t *testing.T) {
	h := start(t)
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+traceID+"-b7ad6b7169203331-01")
	if _, err := h.mail.Submit(ctx, request()); err != nil {
		t.Fatal(err)
	}
	parents := map[string]string{"gateway.loop_check": "gateway.submit", "queue.enqueue": "gateway.submit"}
	submit := h.ended("gateway.submit")
	for name := range parents {
		list := h.ended(name)
		if len(list) != 1 || len(submit) != 1 {
			t.Fatalf("%d spans %s, %d gateway.submit", len(list), name, len(submit))
		}
		if list[0].SpanContext().TraceID().String() != traceID || list[0].Parent().SpanID() != submit[0].SpanContext().SpanID() {
			t.Errorf("%s is not a child of gateway.submit in the caller's trace", name)
		}
	}
	enqueue := h.ended("queue.enqueue")[0]
	r := h.records()[0]
	if want := "00-" + traceID + "-" + enqueue.SpanContext().SpanID().String() + "-01"; r.GetTrace().GetTraceparent() != want {
		t.Errorf("the record carries %q, want %q", r.GetTrace().GetTraceparent(), want)
	}
	check := h.ended("gateway.loop_check")[0]
	for key, want := range map[string]string{
		"mail.loop.decision": "no_loop", "mail.loop.rule": "L-01 L-03 L-04 L-07",
		"mail.loop.values": "received=0 hop_number=0 own_trace_returns=0 equal_messages=1", "mail.loop.limit": "100 100 1 49",
	} {
		if got := value(check, key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	for _, s := range h.spans.Ended() {
		for _, a := range s.Attributes() {
			if text := a.Value.String(); strings.Contains(text, "@example.com") || strings.Contains(text, "@example.org") {
				t.Errorf("span %s: attribute %s holds an address: %s", s.Name(), a.Key, text)
			}
		}
	}
}

func TestL01_TooManyHopsIsASpanAndARefusal(t *testing.T) {
	h := start(t, func(h *harness) { h.cfg.MaxHops = 10 })
	field := "Received: from x by y;\r\n Mon, 1 Jan 2024 00:00:00 +0000\r\n"
	h.submit(request(body(strings.Repeat(field, 10) + text(0))))
	_, err := h.mail.Submit(t.Context(), request(body(strings.Repeat(field, 11)+text(0))))
	expect(t, err, codes.FailedPrecondition, "LOOP", "5.4.6", "")
	checks := h.ended("gateway.loop_check")
	last := checks[len(checks)-1]
	for key, want := range map[string]string{
		"mail.loop.decision": "refuse", "mail.loop.rule": "L-01", "mail.loop.values": "received=11", "mail.loop.limit": "10", "mail.reason": "hops",
	} {
		if got := value(last, key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
}

// TestL04_OwnMailComesBack sends what the queue holds back through the gateway, as a forwarding host would.
func TestL04_OwnMailComesBack(t *testing.T) {
	h := start(t)
	again := func() []byte {
		all := h.records()
		return all[len(all)-1].content
	}
	h.submit(request(to("b@example.com", "c@example.com")))
	h.submit(request(body(string(again())))) // the first return is legal
	if hop := h.records()[2-1].GetLoop().GetHopNumber(); hop != 1 {
		t.Errorf("hop number %d after one return", hop)
	}
	looping := string(again())
	_, err := h.mail.Submit(t.Context(), request(body(looping), to("x@example.net", "b@example.com")))
	expect(t, err, codes.FailedPrecondition, "LOOP", "5.4.6", "envelope.recipients[1].address")
	h.restart() // the key lies in the queue
	partial := request(body(looping), to("x@example.net", "b@example.com"))
	partial.Envelope.Partial = true
	accepted := h.submit(partial)
	if accepted.GetRecipients() != 1 || len(accepted.GetRefused()) != 1 || accepted.GetRefused()[0].GetIndex() != 1 ||
		accepted.GetRefused()[0].GetReason() != "LOOP" || accepted.GetRefused()[0].GetEnhanced() != "5.4.6" {
		t.Errorf("partial: %v", accepted)
	}
	h.submit(request(body(looping), to("another@example.com"))) // not the same recipient
}

func TestL03_NotificationGoesOnFromTheReportedHop(t *testing.T) {
	h := start(t)
	r := request(func(r *gatewayv1.SubmitRequest) {
		r.Envelope.Sender, r.Envelope.ReportsOn = "", "01HX0000000000000000000000"
		r.Envelope.ReportsOnLoop = &eventv1.LoopTrace{HopNumber: 6}
	})
	h.submit(r)
	record := h.records()[0]
	if record.GetLoop().GetHopNumber() != 7 || record.GetReportsOn() != "01HX0000000000000000000000" || record.GetEnvelope().GetSender() != "" {
		t.Errorf("record %v", record.QueuedMail)
	}
	r.Envelope.ReportsOnLoop.HopNumber = 100
	_, err := h.mail.Submit(t.Context(), r)
	expect(t, err, codes.FailedPrecondition, "LOOP", "5.4.6", "")
}

func TestTraceKeyFileIsShared(t *testing.T) {
	key, err := loopdetect.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key.Hex()), 0o600); err != nil {
		t.Fatal(err)
	}
	withKey := func(h *harness) { h.cfg.TraceKeyFile = file }
	first, second := start(t, withKey), start(t, withKey)
	first.submit(request())
	second.submit(request(body(string(first.records()[0].content))))
	if hop := second.records()[0].GetLoop().GetHopNumber(); hop != 1 {
		t.Errorf("another gateway with the same key sees hop number %d", hop)
	}
	third := start(t)
	third.submit(request(body(string(first.records()[0].content))))
	if hop := third.records()[0].GetLoop().GetHopNumber(); hop != 0 {
		t.Errorf("a gateway with another key sees hop number %d", hop)
	}
	if got := value(third.ended("gateway.loop_check")[0], "mail.loop.foreign_traces"); got != "1" {
		t.Errorf("foreign traces %q", got)
	}
}

// TestG08_Normalise runs the lenient configuration over the wire.
func TestG08_Normalise(t *testing.T) {
	h := start(t, func(h *harness) { h.cfg.BareNewlines, h.cfg.LongLines = "normalise", "fold" })
	long := "References:" + strings.Repeat(" <id@example.org>", 100)
	h.submit(request(body("From: a@example.org\nDate: x\n" + long + "\nMessage-ID: <1@a>\n\nhello\n.\nworld")))
	r := h.records()[0]
	content := string(r.content[r.GetContent().GetPrependedSize():])
	if !strings.HasSuffix(content, "\r\n\r\nhello\r\n.\r\nworld\r\n") || strings.Count(content, "\n") != strings.Count(content, "\r\n") || !r.GetContent().GetDotLines() {
		t.Errorf("stored %q", content)
	}
	if strings.ReplaceAll(content, "\r\n <id", " <id") == content {
		t.Error("the long header line is not folded")
	}
}

// TestOtherQueueIsRefused checks that a gateway does not work on streams of another layout.
func TestOtherQueueIsRefused(t *testing.T) {
	h := start(t)
	h.stop()
	h.shared.Queue.Partitions = 4
	err := runner.Run(t.Context(), h.process())
	if _, ok := errors.AsType[*bus.MismatchError](err); !ok {
		t.Errorf("started on a queue with another number of partitions: %v", err)
	}
}
