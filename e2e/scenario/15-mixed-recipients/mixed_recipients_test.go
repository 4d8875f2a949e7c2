// SPDX-License-Identifier: Apache-2.0

package mixedrecipients_test

import (
	"context"
	"fmt"
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
recipient.example      MX  10 mx1.recipient.example
recipient.example      MX  20 mx2.recipient.example
mx1.recipient.example  A   127.0.0.2
mx2.recipient.example  A   127.0.0.3
`

func TestEachRecipientHasItsOwnStory(t *testing.T) {
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3")
	smtptest.NewHost(t, smtptest.HostOptions{Name: "mx1.recipient.example", Listener: listeners[0], OnRcpt: answer(map[string]string{
		"refused": "550 5.1.1 unknown", "later": "450 4.2.1 moving", "second": "450 4.2.1 moving",
	})})
	smtptest.NewHost(t, smtptest.HostOptions{Name: "mx2.recipient.example", Listener: listeners[1], OnRcpt: answer(map[string]string{
		"later": "451 4.3.0 not now",
	})})
	s := suite.Start(t, suite.AllInOne, suite.Options{Settings: suite.Settings{
		"resolver.servers": []string{dnstest.Start(t, zone).Addr().String()},
		"sender.smtp_port": smtptest.Port(listeners[0]),
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	mail := s.Mail(t)
	id := suite.Submit(ctx, t, mail, []byte("From: a@sender.example\r\nMessage-ID: <mixed@sender.example>\r\n\r\nText.\r\n"), "",
		"good@recipient.example", "refused@recipient.example", "later@recipient.example", "second@recipient.example")
	m := suite.Await(ctx, t, mail, id, "attempted", func(m *gatewayv1.Message) bool {
		return m.GetRecipients()[0].GetState() == eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
	})
	for i, want := range []string{
		"delivered 2.0.0 : mx1 took it at dot",
		"bounced 5.1.1 rcpt_refused: mx1 at rcpt, 550 rcpt_refused, bounce",
		"deferred 4.3.0 rcpt_deferred: mx1 at rcpt, 450 rcpt_deferred, next_host; mx2 at rcpt, 451 rcpt_deferred, defer",
		"delivered 2.0.0 : mx1 at rcpt, 450 rcpt_deferred, next_host; mx2 took it at dot",
	} {
		if got := story(m.GetRecipients()[i]); got != want {
			t.Errorf("%s:\n got %s\nwant %s", m.GetRecipients()[i].GetAddress(), got, want)
		}
	}
}

func answer(replies map[string]string) func(string, []string) string {
	return func(address string, _ []string) string {
		local, _, _ := strings.Cut(address, "@")
		return replies[local]
	}
}

// story is what the status tells of one recipient, in one line.
func story(r *gatewayv1.RecipientStatus) string {
	var tries []string
	for _, a := range r.GetAttempts() {
		for _, h := range a.GetHosts() {
			host, _, _ := strings.Cut(h.GetHost(), ".")
			stage := strings.ToLower(strings.TrimPrefix(h.GetStage().String(), "STAGE_"))
			if f := h.GetFailure(); f != nil {
				tries = append(tries, fmt.Sprintf("%s at %s, %d %s, %s", host, stage, f.GetReply().GetCode(), f.GetReason(), h.GetLeftFor()))
			} else {
				tries = append(tries, fmt.Sprintf("%s took it at %s", host, stage))
			}
		}
	}
	state := strings.ToLower(strings.TrimPrefix(r.GetState().String(), "RECIPIENT_STATE_"))
	return fmt.Sprintf("%s %s %s: %s", state, r.GetStatus(), r.GetReason(), strings.Join(tries, "; "))
}
