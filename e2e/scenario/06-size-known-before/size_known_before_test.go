// SPDX-License-Identifier: Apache-2.0

package sizeknownbefore_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const zone = `
announced.example   MX 10 mx1.announced.example
announced.example   MX 20 mx2.announced.example
configured.example  MX 10 mx1.announced.example
sender.example      MX 10 mx.sender.example
mx1.announced.example  A 127.0.0.2
mx2.announced.example  A 127.0.0.3
mx.sender.example      A 127.0.0.4
`

type world struct {
	dns                *dnstest.Server
	small, large, home *smtptest.Host
	mail               gatewayv1.MailServiceClient
}

// start gives two hosts that announce different sizes; both is false: the second takes any.
func start(t *testing.T, shape suite.Shape, both bool) *world {
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	second := smtptest.HostOptions{Name: "mx2.announced.example", Listener: listeners[1]}
	if both {
		second.MaxSize = 200 << 10
	}
	w := &world{
		dns:   dnstest.Start(t, zone),
		small: smtptest.NewHost(t, smtptest.HostOptions{Name: "mx1.announced.example", Listener: listeners[0], MaxSize: 100 << 10}),
		large: smtptest.NewHost(t, second),
		home:  smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.sender.example", Listener: listeners[2]}),
	}
	w.mail = suite.Start(t, shape, suite.Options{Settings: suite.Settings{
		"resolver.servers":    []string{w.dns.Addr().String()},
		"sender.smtp_port":    smtptest.Port(listeners[0]),
		"sender.destinations": []map[string]any{{"match": "configured.example", "max_size": "50KiB"}},
	}}).Mail(t)
	return w
}

func (w *world) send(t *testing.T, to string, size int) *gatewayv1.RecipientStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	content := "From: a@sender.example\r\nSubject: size\r\nMessage-ID: <size@sender.example>\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72)
	id := suite.Submit(ctx, t, w.mail, []byte(content), "a@sender.example", to)
	return suite.Await(ctx, t, w.mail, id, "done", suite.Done).GetRecipients()[0]
}

func noMail(t *testing.T, host *smtptest.Host) {
	t.Helper()
	for _, c := range host.Conns() {
		for _, command := range c.Commands {
			if strings.HasPrefix(command, "MAIL") {
				t.Errorf("%s was sent %q", host.Name(), command)
			}
		}
	}
}

func TestS45_TheNextHostTakesWhatTheFirstCannot(t *testing.T) {
	w := start(t, suite.AllInOne, false)
	if r := w.send(t, "b@announced.example", 300<<10); r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DELIVERED {
		t.Errorf("recipient %v, want delivered by the second host", r)
	}
	noMail(t, w.small)
	w.large.Wait(1, 30*time.Second)
}

func TestS45_TooLargeForEveryHostBouncesAtOnce(t *testing.T) {
	for _, shape := range suite.Shapes() {
		t.Run(string(shape), func(t *testing.T) {
			w := start(t, shape, true)
			r := w.send(t, "b@announced.example", 300<<10)
			if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_BOUNCED || r.GetStatus() != "5.3.4" || len(r.GetAttempts()) != 1 {
				t.Errorf("recipient %v, want bounced with 5.3.4 in one attempt", r)
			}
			noMail(t, w.small)
			noMail(t, w.large)
			notice := string(w.home.Wait(1, 30*time.Second)[0].Data)
			if !strings.Contains(notice, "Status: 5.3.4\r\n") {
				t.Errorf("notification:\n%s", notice)
			}
		})
	}
}

func TestQ05_ConfiguredMaximumIsKnownBeforeAnyNetworkWork(t *testing.T) {
	w := start(t, suite.AllInOne, false)
	r := w.send(t, "b@configured.example", 90<<10)
	if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_BOUNCED || r.GetStatus() != "5.3.4" {
		t.Errorf("recipient %v, want bounced with 5.3.4", r)
	}
	if n := w.dns.Count("configured.example", 15); n != 0 {
		t.Errorf("DNS was asked %d times for a message that cannot go", n)
	}
	if n := w.small.Counts().Accepted; n != 0 {
		t.Errorf("the host was connected to %d times", n)
	}
}
