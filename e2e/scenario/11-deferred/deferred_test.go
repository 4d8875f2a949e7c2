// SPDX-License-Identifier: Apache-2.0

package deferred_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/oteltest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const (
	zone = `
recipient.example    MX 10 mx.recipient.example
sender.example       MX 10 mx.sender.example
mx.recipient.example A 127.0.0.2
mx.sender.example    A 127.0.0.3
`
	greylisted = "451 4.7.1 greylisted, come back later"
)

type world struct {
	refuse atomic.Int32 // how many times the host still says 451
	host   *smtptest.Host
	home   *smtptest.Host
	sink   *oteltest.Sink
	mail   gatewayv1.MailServiceClient
}

func start(t *testing.T, shape suite.Shape, refuse int32, settings suite.Settings) *world {
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3")
	w := &world{sink: oteltest.Start(t)}
	w.refuse.Store(refuse)
	w.host = smtptest.NewHost(t, smtptest.HostOptions{
		Name: "mx.recipient.example", Listener: listeners[0],
		OnRcpt: func(string, []string) string {
			if w.refuse.Add(-1) >= 0 {
				return greylisted
			}
			return ""
		},
	})
	w.home = smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.sender.example", Listener: listeners[1]})
	settings["resolver.servers"] = []string{dnstest.Start(t, zone).Addr().String()}
	settings["sender.smtp_port"] = smtptest.Port(listeners[0])
	w.mail = suite.Start(t, shape, suite.Options{Env: w.sink.Env(), Settings: settings}).Mail(t)
	return w
}

func (w *world) submit(ctx context.Context, t *testing.T) *gatewayv1.Message {
	t.Helper()
	answer, err := w.mail.Submit(ctx, &gatewayv1.SubmitRequest{
		Content: []byte("From: a@sender.example\r\nSubject: patience\r\nMessage-ID: <deferred@sender.example>\r\n\r\nText.\r\n"),
		Envelope: &gatewayv1.Envelope{
			Sender: "a@sender.example", Recipients: []*gatewayv1.Recipient{{Address: "b@recipient.example"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return suite.Await(ctx, t, w.mail, answer.GetAccepted().GetMessageId(), "done", suite.Done)
}

func TestQ01_DeferredRecipientIsTriedAgain(t *testing.T) {
	for _, shape := range suite.Shapes() {
		t.Run(string(shape), func(t *testing.T) {
			w := start(t, shape, 1, suite.Settings{"sender.retry.pauses": []string{"1s"}})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			m := w.submit(ctx, t)
			r := m.GetRecipients()[0]
			if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DELIVERED || len(r.GetAttempts()) != 2 {
				t.Fatalf("recipient %v, want delivered at the second attempt", r)
			}
			if f := r.GetAttempts()[0].GetHosts()[0].GetFailure(); f.GetReply().GetCode() != 451 {
				t.Errorf("first attempt: %v, want the host's 451", f)
			}
			first, second := r.GetAttempts()[0], r.GetAttempts()[1]
			if pause := second.GetStartedAt().AsTime().Sub(first.GetStartedAt().AsTime()); pause < time.Second {
				t.Errorf("tried again after %s, the pause is 1 s", pause)
			}
			checkSiblings(ctx, t, w.sink, m.GetTraceId())
		})
	}
}

// checkSiblings wants both attempts in the message's trace, the second linked to the first.
func checkSiblings(ctx context.Context, t *testing.T, sink *oteltest.Sink, id string) {
	t.Helper()
	err := sink.WaitFor(ctx, func([]oteltest.Span) bool { return len(sink.Trace(id).Named("sender.attempt")) == 2 })
	if err != nil {
		t.Fatalf("%v\n%s", err, sink.Trace(id))
	}
	attempts := sink.Trace(id).Named("sender.attempt")
	if attempts[0].ParentID != attempts[1].ParentID {
		t.Errorf("the attempts are not siblings:\n%s", sink.Trace(id))
	}
	links := attempts[1].Links
	if len(links) != 1 || links[0].SpanID != attempts[0].SpanID {
		t.Errorf("the second attempt links to %v, want %s", links, attempts[0].SpanID)
	}
}

func TestQ03_ExpiryKeepsTheRealCause(t *testing.T) {
	w := start(t, suite.AllInOne, 1<<30, suite.Settings{
		"sender.retry.pauses": []string{"1s"}, "sender.retry.expire_after": "3s",
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m := w.submit(ctx, t)
	r := m.GetRecipients()[0]
	if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_EXPIRED || r.GetStatus() != "4.4.7" || r.GetReply().GetCode() != 451 {
		t.Errorf("recipient %v, want expired, 4.4.7, and the host's 451", r)
	}
	if n := len(r.GetAttempts()); n < 2 {
		t.Errorf("%d attempts before the time was over", n)
	}
	notice := string(w.home.Wait(1, time.Minute)[0].Data)
	unfolded := strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(notice)
	for _, want := range []string{"Status: 4.4.7\r\n", "Diagnostic-Code: smtp; " + greylisted + "\r\n", "Action: failed\r\n"} {
		if !strings.Contains(unfolded, want) {
			t.Errorf("the notification lacks %q:\n%s", want, notice)
		}
	}
}
