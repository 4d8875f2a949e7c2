// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/postrider/postrider/testkit/smtptest"
)

// traced runs one session with a recording parent span and gives the spans below it, by name.
func traced(t *testing.T, o Options, m *Message) map[string][]tracetest.SpanStub {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	o.Tracer = provider.Tracer("test")
	ctx, parent := o.Tracer.Start(t.Context(), "parent")
	c, fail := Dial(ctx, o)
	if fail == nil {
		c.Send(ctx, m)
	}
	c.Quit()
	parent.End()
	spans := map[string][]tracetest.SpanStub{}
	for _, s := range exporter.GetSpans() {
		if s.Name != "parent" && s.Parent.SpanID() != parent.SpanContext().SpanID() {
			t.Errorf("span %s is not below the parent", s.Name)
		}
		for _, a := range s.Attributes {
			if strings.Contains(a.Value.String(), "@") {
				t.Errorf("span %s tells an address in %s: %s", s.Name, a.Key, a.Value.String())
			}
		}
		spans[s.Name] = append(spans[s.Name], s)
	}
	return spans
}

func attr(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if a.Key == attribute.Key(key) {
			return a.Value.String()
		}
	}
	return ""
}

func TestO01_ASpanForEachStep(t *testing.T) {
	for _, extensions := range [][]string{{"PIPELINING"}, {}} {
		host := smtptest.NewHost(t, smtptest.HostOptions{
			Extensions: extensions, TLS: smtptest.NewCA(t).ServerConfig(mxName),
			OnRcpt: func(address string, _ []string) string {
				if strings.HasPrefix(address, "no") {
					return "550 5.1.1 <no@example.test> unknown"
				}
				return ""
			},
		})
		o := newOptions(t)
		o.Address = host.Addr()
		spans := traced(t, o, newMessage(body, "a@example.test", "no@example.test"))
		for name, n := range map[string]int{
			"smtp.connect": 1, "smtp.greeting": 1, "smtp.ehlo": 2, "smtp.starttls": 1, "smtp.mail": 1, "smtp.rcpt": 1,
			"smtp.data": 1, "smtp.dot": 1,
		} {
			if len(spans[name]) != n {
				t.Fatalf("%d spans %s, want %d", len(spans[name]), name, n)
			}
		}
		for span, want := range map[string]string{
			"smtp.greeting smtp.reply.code": "220", "smtp.mail smtp.reply.code": "250", "smtp.data smtp.reply.code": "354",
			"smtp.dot smtp.reply.code": "250", "smtp.rcpt mail.recipients": "2", "smtp.rcpt mail.recipients.accepted": "1",
			"smtp.starttls tls.protocol.version": "TLS 1.3", "smtp.starttls mail.tls.policy": "opportunistic",
		} {
			name, key, _ := strings.Cut(span, " ")
			if got := attr(spans[name][0], key); got != want {
				t.Errorf("%s is %q, want %q", span, got, want)
			}
		}
	}
}

func TestO01_TheSpanOfTheStepThatFailed(t *testing.T) {
	host := smtptest.NewHost(t, smtptest.HostOptions{
		Extensions: []string{"PIPELINING"},
		OnMail:     func(string, []string) string { return "451 4.7.1 not now" },
	})
	o := newOptions(t)
	o.Address = host.Addr()
	spans := traced(t, o, newMessage(body, "a@example.test"))
	mail := spans["smtp.mail"][0]
	for key, want := range map[string]string{
		"smtp.stage": "mail", "smtp.reply.code": "451", "smtp.reply.enhanced": "4.7.1", "error.type": "reply_4xx",
	} {
		if got := attr(mail, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if len(spans["smtp.rcpt"]) != 1 || len(spans["smtp.data"]) != 1 {
		t.Error("spans of the group are not ended")
	}
}

func TestNoSpansUnderAParentThatDoesNotRecord(t *testing.T) {
	host := smtptest.NewHost(t, smtptest.HostOptions{})
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	o := newOptions(t)
	o.Address, o.Tracer = host.Addr(), provider.Tracer("test")
	mustDial(t, o).Quit()
	if n := len(exporter.GetSpans()); n != 0 {
		t.Errorf("%d spans", n)
	}
}
