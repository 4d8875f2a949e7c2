// SPDX-License-Identifier: Apache-2.0

package silentbanner_test

import (
	"bytes"
	"context"
	_ "embed"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/oteltest"
	"github.com/postrider/postrider/testkit/smtptest"
)

var (
	//go:embed zone.txt
	zone string
	//go:embed message.eml
	messageFile []byte
)

const (
	greeting = 2 * time.Second
	traceID  = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent   = "00-" + traceID + "-00f067aa0ba902b7-01"
)

func TestS12_SilentFirstHostCostsOnlyItsTimeout(t *testing.T) {
	for _, shape := range suite.Shapes() {
		t.Run(string(shape), func(t *testing.T) { run(t, shape) })
	}
}

func run(t *testing.T, shape suite.Shape) {
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3")
	silent := smtptest.NewHost(t, smtptest.HostOptions{Name: "mx1.recipient.example", Listener: listeners[0], SilentGreeting: true})
	good := smtptest.NewHost(t, smtptest.HostOptions{Name: "mx2.recipient.example", Listener: listeners[1]})
	sink := oteltest.Start(t)
	s := suite.Start(t, shape, suite.Options{Env: sink.Env(), Settings: suite.Settings{
		"resolver.servers":         []string{dnstest.Start(t, zone).Addr().String()},
		"sender.smtp_port":         smtptest.Port(listeners[0]),
		"sender.timeouts.greeting": greeting.String(),
	}})

	content := bytes.ReplaceAll(messageFile, []byte("\n"), []byte("\r\n"))
	mail := s.Mail(t)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", parent)
	begin := time.Now()
	answer, err := mail.Submit(ctx, &gatewayv1.SubmitRequest{Content: content, Envelope: &gatewayv1.Envelope{
		Sender:     "alice@sender.example",
		Recipients: []*gatewayv1.Recipient{{Address: "bob@recipient.example"}},
	}})
	if err != nil {
		t.Fatal(err)
	}

	got := good.Wait(1, 30*time.Second)[0]
	if took := time.Since(begin); took < greeting || took > greeting+10*time.Second {
		t.Errorf("delivered after %s; the greeting timeout is %s", took, greeting)
	}
	if !bytes.HasSuffix(got.Data, content) {
		t.Errorf("the content changed on its way:\n%q", got.Data)
	}
	for _, c := range silent.WaitClosed(1, 10*time.Second) {
		if c.Closed == smtptest.ClosedHere || len(c.Commands) > 0 {
			t.Errorf("silent host: closed by %s, commands %q; want closed by us, nothing said", c.Closed, c.Commands)
		}
	}
	checkStatus(t, mail, answer.GetAccepted().GetMessageId())
	checkTrace(t, sink)
	if n := good.Counts().Messages; n != 1 {
		t.Errorf("the good host has %d messages, want 1 and no bounce", n)
	}
}

func checkStatus(t *testing.T, mail gatewayv1.MailServiceClient, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m := suite.Await(ctx, t, mail, id, "done", suite.Done)
	if m.GetTraceId() != traceID {
		t.Errorf("trace id %s, want the caller's %s", m.GetTraceId(), traceID)
	}
	r := m.GetRecipients()[0]
	if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DELIVERED || len(r.GetAttempts()) != 1 {
		t.Fatalf("recipient %v, want delivered in one attempt", r)
	}
	hosts := r.GetAttempts()[0].GetHosts()
	if len(hosts) != 2 {
		t.Fatalf("hosts tried: %v, want two", hosts)
	}
	if f := hosts[0].GetFailure(); f.GetReason() != "no_greeting" || f.GetStage() != eventv1.Stage_STAGE_GREETING {
		t.Errorf("mx1 was left for %v, want no_greeting", f)
	}
}

// checkTrace wants the whole way under the caller's trace id, each step below the one before.
func checkTrace(t *testing.T, sink *oteltest.Sink) {
	t.Helper()
	names := []string{"gateway.submit", "queue.enqueue", "sender.attempt", "resolver.resolve_route", "smtp.dot"}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	complete := func([]oteltest.Span) bool {
		trace := sink.Trace(traceID)
		for _, name := range names {
			if len(trace.Named(name)) == 0 {
				return false
			}
		}
		return len(trace.Named("sender.try_host")) == 2
	}
	if err := sink.WaitFor(ctx, complete); err != nil {
		t.Fatalf("trace is not complete: %v\n%s", err, sink.Trace(traceID))
	}
	trace := sink.Trace(traceID)
	submit, attempt := trace.Named("gateway.submit")[0], trace.Named("sender.attempt")[0]
	for child, ancestor := range map[string]oteltest.Span{
		"queue.enqueue": submit, "gateway.loop_check": submit, "sender.attempt": submit,
		"resolver.resolve_route": attempt, "dns.query": attempt, "sender.try_host": attempt, "smtp.dot": attempt,
	} {
		spans := trace.Named(child)
		if len(spans) == 0 {
			t.Errorf("no span %s", child)
		}
		for _, span := range spans {
			if !trace.Under(span, ancestor) {
				t.Errorf("%s is not below %s:\n%s", child, ancestor.Name, trace)
			}
		}
	}
	tries := trace.Named("sender.try_host")
	if got := tries[0].Attributes["mail.reason"]; got != "no_greeting" {
		t.Errorf("first try: mail.reason %v, want no_greeting: %v", got, tries[0].Attributes)
	}
	if got := tries[1].Attributes["server.address"]; got != "mx2.recipient.example" {
		t.Errorf("second try: server.address %v, want mx2.recipient.example", got)
	}
	for _, span := range trace.Spans {
		for key, value := range span.Attributes {
			if text, ok := value.(string); ok && (strings.Contains(text, "alice@") || strings.Contains(text, "bob@")) {
				t.Errorf("span %s tells a person's address in %s", span.Name, key)
			}
		}
	}
}
