// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

const (
	submitted = "00-11111111111111111111111111111111-2222222222222222-01"
	attempted = "00-11111111111111111111111111111111-3333333333333333-01"
)

// traced runs one attempt of the lab and gives its spans in the order of their ends.
func traced(l *lab) (*eventv1.Outcome, []tracetest.SpanStub) {
	exporter := tracetest.NewInMemoryExporter()
	l.options.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)).Tracer("test")
	l.rec.Trace = &eventv1.TraceContext{Traceparent: submitted}
	o := l.run()
	return o, exporter.GetSpans()
}

func attr(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if a.Key == attribute.Key(key) {
			return a.Value.String()
		}
	}
	return ""
}

func TestO01_OneTraceFromTheSubmissionToTheHost(t *testing.T) {
	inLab(t, func(l *lab) {
		l.hosts["192.0.2.2"] = takes()
		l.rec.History = &eventv1.History{First: []*eventv1.Attempt{{Traceparent: attempted}}}
		o, spans := traced(l)
		byName := map[string][]tracetest.SpanStub{}
		for _, s := range spans {
			byName[s.Name] = append(byName[s.Name], s)
			if got := s.SpanContext.TraceID().String(); got != strings.Repeat("1", 32) {
				t.Errorf("span %s is in trace %s", s.Name, got)
			}
			for _, a := range s.Attributes {
				if strings.Contains(a.Value.String(), "@") {
					t.Errorf("span %s tells an address in %s", s.Name, a.Key)
				}
			}
		}
		attempt := byName["sender.attempt"][0]
		if got := attempt.Parent.SpanID().String(); got != strings.Repeat("2", 16) {
			t.Errorf("the attempt is below %s", got)
		}
		if len(attempt.Links) != 1 || attempt.Links[0].SpanContext.SpanID().String() != strings.Repeat("3", 16) {
			t.Errorf("links %v", attempt.Links)
		}
		if !strings.Contains(o.GetAttempt().GetTraceparent(), attempt.SpanContext.SpanID().String()) {
			t.Errorf("traceparent %q", o.GetAttempt().GetTraceparent())
		}
		for _, name := range []string{"resolver.resolve_route", "sender.try_host"} {
			for _, s := range byName[name] {
				if s.Parent.SpanID() != attempt.SpanContext.SpanID() {
					t.Errorf("%s is not below the attempt", name)
				}
			}
		}
		tries := byName["sender.try_host"]
		if len(byName["resolver.resolve_route"]) != 1 || len(tries) != 2 || len(byName["smtp.dot"]) != 1 {
			t.Fatalf("spans %v", spans)
		}
		for key, want := range map[string]string{
			"server.address": "mx1", "network.peer.address": "192.0.2.1", "mail.mx.preference": "10", "smtp.stage": "connect",
			"mail.reason": "connect", "mail.left_for": "next_host", "error.type": "connect",
		} {
			if got := attr(tries[0], key); got != want {
				t.Errorf("first try: %s is %q, want %q", key, got, want)
			}
		}
		if byName["smtp.dot"][0].Parent.SpanID() != tries[1].SpanContext.SpanID() || attr(tries[1], "mail.left_for") != "delivered" {
			t.Errorf("second try %v", tries[1])
		}
		for key, want := range map[string]string{
			"mail.message_id": "01MESSAGE", "mail.attempt": "1", "mail.destination": "example.test", "mail.site": "mx.example.test",
			"mail.verdict": "delivered", "mail.hosts_tried": "2", "postrider.trace.keep": "true",
		} {
			if got := attr(attempt, key); got != want {
				t.Errorf("attempt: %s is %q, want %q", key, got, want)
			}
		}
	})
}

func TestO01_VerdictAndReasonOfAnAttempt(t *testing.T) {
	inLab(t, func(l *lab) {
		l.recipients(&eventv1.Recipient{Address: "a@x.test"}, &eventv1.Recipient{Address: "b@x.test"})
		l.hosts["192.0.2.1"] = rcpts("250 ok", "550 5.1.1 <b@x.test> unknown")
		_, spans := traced(l)
		attempt := spans[len(spans)-1]
		if attr(attempt, "mail.verdict") != "mixed" || attr(attempt, "smtp.reply.code") != "550" || attr(attempt, "smtp.reply.enhanced") != "5.1.1" {
			t.Errorf("attributes %v", attempt.Attributes)
		}
	})
	inLab(t, func(l *lab) {
		l.hosts["192.0.2.1"] = takes()
		_, spans := traced(l)
		if attempt := spans[len(spans)-1]; attr(attempt, "postrider.trace.settled") != "true" || attr(attempt, "postrider.trace.keep") != "" {
			t.Errorf("attributes %v", attempt.Attributes)
		}
	})
}
