// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"context"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

func TestO01_NobodyIsNamedInASpan(t *testing.T) {
	hide := anonymiser(&smtpclient.Message{
		From: "alice@a.test", Recipients: []smtpclient.Recipient{{Address: "bob.b+x@b.test"}, {Address: `"o(dd"@b.test`}},
	})
	for line, want := range map[string]string{
		"S: 550 5.1.1 <bob.b+x@b.test>: unknown":          "S: 550 5.1.1 <…@b.test>: unknown",
		"S: 550 mailbox Bob.B+X is full":                  "S: 550 mailbox … is full",
		"S: 550 bobby and alice":                          "S: 550 bobby and …",
		`S: 550 "o(dd"@b.test o(dd`:                       `S: 550 …@b.test …`,
		"S: 451 mailto:carol@c.test,dave@c.test":          "S: 451 mailto:…@c.test,…@c.test",
		"S: 220 mx.b.test ESMTP":                          "S: 220 mx.b.test ESMTP",
		"C: MAIL FROM:<…@a.test> SIZE=5":                  "C: MAIL FROM:<…@a.test> SIZE=5",
		"S: 550 ORCPT=rfc822;jürgen@c.test jürgen@c.test": "S: 550 ORCPT=rfc822;…@c.test …@c.test",
		"* connection refused":                            "* connection refused",
	} {
		if got := hide(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestO01_TranscriptOfAFailedSessionIsInItsSpan(t *testing.T) {
	walking(t, network{
		"192.0.2.1": says("RCPT", "450 4.2.1 a@example.test moves"),
		"192.0.2.2": takes,
	}, twoHosts, func(w *walk) {
		exporter := tracetest.NewInMemoryExporter()
		w.walker.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)).Tracer("test")
		ctx, parent := w.walker.Tracer.Start(context.Background(), "parent")
		o := w.walker.Deliver(ctx, w.route, w.mail)
		parent.End()
		w.want(o, "delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
		var tries []tracetest.SpanStub
		for _, s := range exporter.GetSpans() {
			if s.Name == "sender.try_host" {
				tries = append(tries, s)
			}
		}
		var told []string
		for _, e := range tries[0].Events {
			told = append(told, e.Attributes[0].Value.AsString())
		}
		text := strings.Join(told, "\n")
		for _, want := range []string{"C: EHLO client.example.test", "C: RCPT TO:<…@example.test>", "S: 450 4.2.1 …@example.test moves"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is missing in\n%s", want, text)
			}
		}
		if len(tries[1].Events) != 0 {
			t.Errorf("a good session is told: %v", tries[1].Events)
		}
	})
}
