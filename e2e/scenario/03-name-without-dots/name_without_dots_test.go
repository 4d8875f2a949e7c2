// SPDX-License-Identifier: Apache-2.0

package namewithoutdots_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const (
	zone = `
recipient.example     MX 10 mx.recipient.example
sender.example        MX 10 mx.sender.example
mx.recipient.example  A  127.0.0.2
mx.sender.example     A  127.0.0.3
`
	content  = "From: a@sender.example\r\nSubject: dots\r\nMessage-ID: <dots@sender.example>\r\n\r\nText.\r\n"
	lastWord = "450 4.2.1 mailbox is being moved"
)

func start(t *testing.T, shape suite.Shape, onRcpt func(string, []string) string, settings suite.Settings) (s *suite.Suite, old, home *smtptest.Host) {
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3")
	old = smtptest.NewHost(t, smtptest.HostOptions{
		Name: "aliasex2000", Greeting: "220 aliasex2000 Microsoft ESMTP MAIL Service", Listener: listeners[0],
		Extensions: []string{"X-EXPS GSSAPI NTLM LOGIN", "X-EXPS=LOGIN", "AUTH GSSAPI NTLM LOGIN", "AUTH=LOGIN", "X-LINK2STATE", "XEXCH50", "SIZE"},
		OnRcpt:     onRcpt,
	})
	home = smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.sender.example", Listener: listeners[1]})
	settings["resolver.servers"] = []string{dnstest.Start(t, zone).Addr().String()}
	settings["sender.smtp_port"] = smtptest.Port(listeners[0])
	return suite.Start(t, shape, suite.Options{Settings: settings}), old, home
}

func TestS18_NameWithoutDotsIsNoReason(t *testing.T) {
	for _, shape := range suite.Shapes() {
		t.Run(string(shape), func(t *testing.T) {
			s, old, home := start(t, shape, nil, suite.Settings{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			mail := s.Mail(t)
			id := suite.Submit(ctx, t, mail, []byte(content), "a@sender.example", "b@recipient.example")
			m := suite.Await(ctx, t, mail, id, "done", suite.Done)
			r := m.GetRecipients()[0]
			if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DELIVERED || len(r.GetAttempts()) != 1 {
				t.Errorf("recipient %v, want delivered at the first attempt", r)
			}
			for _, c := range old.Conns() {
				for _, command := range c.Commands {
					if strings.HasPrefix(command, "AUTH") || strings.HasPrefix(command, "X-") {
						t.Errorf("sent %q, which nobody asked for", command)
					}
				}
			}
			if n := home.Counts().Messages; n != 0 {
				t.Errorf("%d notifications for delivered mail", n)
			}
		})
	}
}

func TestQ03_ExpiredMailToSuchAHostShowsItsLastReply(t *testing.T) {
	s, _, home := start(t, suite.AllInOne, func(string, []string) string { return lastWord }, suite.Settings{
		"sender.retry.pauses": []string{"500ms"}, "sender.retry.expire_after": "2s",
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	suite.Submit(ctx, t, s.Mail(t), []byte(content), "a@sender.example", "b@recipient.example")
	notice := string(home.Wait(1, time.Minute)[0].Data)
	unfolded := strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(notice)
	for _, want := range []string{"Status: 4.4.7\r\n", "Diagnostic-Code: smtp; " + lastWord + "\r\n"} {
		if !strings.Contains(unfolded, want) {
			t.Errorf("the notification lacks %q:\n%s", want, notice)
		}
	}
}
