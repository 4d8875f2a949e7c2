// SPDX-License-Identifier: Apache-2.0

package receiptsthatloop_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/e2e/suite"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/oteltest"
	"github.com/postrider/postrider/testkit/smtptest"
)

// legalZone has one host for everybody, and one that refuses every mailbox.
const legalZone = `
people.example     MX 10 mx.people.example
mx.people.example  A  127.0.0.2
gone.example       MX 10 mx.gone.example
mx.gone.example    A  127.0.0.3
inbound.example    MX 10 a.postrider.example
a.postrider.example A 127.0.0.4
`

// legal is a node and the hosts around it.
type legal struct {
	*node
	people, inbound *smtptest.Host
}

func startLegal(t *testing.T) *legal {
	t.Helper()
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	l := &legal{people: smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.people.example", Listener: listeners[0]})}
	smtptest.NewHost(t, smtptest.HostOptions{
		Name: "mx.gone.example", Listener: listeners[1], OnRcpt: func(string, []string) string { return "550 5.1.1 no such mailbox" },
	})
	l.inbound = smtptest.NewHost(t, smtptest.HostOptions{Name: "inbound.postrider.example", Listener: listeners[2]})
	l.node = startNode(t, "a", "", suite.Settings{
		"resolver.servers": []string{dnstest.Start(t, legalZone).Addr().String()}, "sender.smtp_port": smtptest.Port(listeners[0]),
	}, oteltest.Start(t))
	return l
}

// count waits for so many messages for a recipient, and says how many hold each of the texts.
func (l *legal) count(t *testing.T, host *smtptest.Host, before, n int, recipient string) []smtptest.Message {
	t.Helper()
	got := host.Wait(before+n, limit)[before:]
	for _, m := range got {
		if len(m.To()) != 1 || m.To()[0] != recipient {
			t.Errorf("mail to %v", m.To())
		}
	}
	return got
}

// TestLegalMailIsNotTakenForALoop: what looks like a loop and is none is delivered, all of it.
func TestLegalMailIsNotTakenForALoop(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	l := startLegal(t)

	t.Run("sixty equal reports in an hour to one person", func(t *testing.T) {
		before := l.people.Counts().Messages
		for n := range 60 {
			report := "Received: from cron by x; Mon, 02 Nov 2026 09:30:00 +0100\r\nAuto-Submitted: auto-generated\r\n" +
				letter("cron@people.example", fmt.Sprintf("disk report %d", n))
			if err := handIn(l.smtp, "cron@people.example", []byte(report), "on-call@people.example"); err != nil {
				t.Fatalf("report %d: %v", n, err)
			}
		}
		l.count(t, l.people, before, 60, "on-call@people.example")
	})

	t.Run("a node beside the inbound MX of the same name", func(t *testing.T) {
		id := submit(ctx, t, l.node, "user@people.example", "b@inbound.example", letter("user@people.example", "to the host beside us"))
		suite.Await(ctx, t, l.mail, id, "done", suite.Done)
		l.count(t, l.inbound, 0, 1, "b@inbound.example")
	})

	t.Run("a mailing list sends our mail back once to each member", func(t *testing.T) {
		before := l.people.Counts().Messages
		submit(ctx, t, l.node, "user@people.example", "list@people.example", letter("user@people.example", "to the list"))
		sent := l.count(t, l.people, before, 1, "list@people.example")[0].Data
		for _, member := range []string{"one@people.example", "two@people.example", "user@people.example"} {
			if err := handIn(l.smtp, "list-owner@people.example", withField(hop(1), sent), member); err != nil {
				t.Fatalf("%s: %v", member, err)
			}
		}
		l.people.Wait(before+4, limit)
	})

	t.Run("a message passes us twice on its legal way", func(t *testing.T) {
		before := l.people.Counts().Messages
		submit(ctx, t, l.node, "user@people.example", "moved@people.example", letter("user@people.example", "forwarded back"))
		sent := l.count(t, l.people, before, 1, "moved@people.example")[0].Data
		if err := handIn(l.smtp, "user@people.example", withField(hop(2), sent), "moved@people.example"); err != nil {
			t.Fatal(err)
		}
		l.count(t, l.people, before, 2, "moved@people.example")
	})

	t.Run("thirty different bounces of another system to one bulk sender", func(t *testing.T) {
		before := l.people.Counts().Messages
		for n := range 30 {
			for kind, text := range map[string]string{
				"plain": fmt.Sprintf("Subject: failure notice\r\n\r\nHi. This is the mail program.\r\n<subscriber%d@gone.example>: no such mailbox, code %d\r\n", n, 550+n%3),
				"report": fmt.Sprintf("Subject: Undelivered\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"+
					"--b\r\n\r\nYour message could not be delivered.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n"+
					"Final-Recipient: rfc822; subscriber%d@gone.example\r\nAction: failed\r\nStatus: 5.1.1\r\n--b--\r\n", n),
			} {
				content := "From: MAILER-DAEMON@mx.gone.example\r\nTo: bulk@people.example\r\nDate: Mon, 02 Nov 2026 09:30:00 +0100\r\n" + text
				if err := handIn(l.smtp, "", []byte(content), "bulk@people.example"); err != nil {
					t.Fatalf("%s bounce %d: %v", kind, n, err)
				}
			}
		}
		l.count(t, l.people, before, 60, "bulk@people.example")
	})

	t.Run("thirty different bounces of our own to one bulk sender", func(t *testing.T) {
		before := l.people.Counts().Messages
		for n := range 30 {
			submit(ctx, t, l.node, "news@people.example", fmt.Sprintf("subscriber%d@gone.example", n), letter("news@people.example", "news"))
		}
		told := map[string]bool{}
		ask(ctx, t, "notification or summary for each of the thirty", func() bool {
			for _, m := range l.people.Messages()[before:] {
				for n := range 30 {
					address := fmt.Sprintf("subscriber%d@gone.example", n)
					if m.From == "" && m.To()[0] == "news@people.example" && bytes.Contains(m.Data, []byte("Final-Recipient: rfc822; "+address+"\r\n")) {
						told[address] = true
					}
				}
			}
			return len(told) == 30
		})
	})

	messages, err := l.mail.ListMessages(ctx, &gatewayv1.ListMessagesRequest{PageSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages.GetMessages() {
		for _, r := range m.GetRecipients() {
			if strings.HasSuffix(r.GetAddress(), "@gone.example") {
				continue
			}
			suite.Await(ctx, t, l.mail, m.GetMessageId(), "delivered", suite.Done)
			if r.GetStatus() == "5.4.6" {
				t.Errorf("%s: %v", m.GetMessageId(), r)
			}
		}
	}
}

// TestLegalMailToAHostOfOurNameWithoutAListener: without an SMTP listener of ours no host is ourselves, whatever it says.
func TestLegalMailToAHostOfOurNameWithoutAListener(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	listeners := smtptest.SharedPort(t, "127.0.0.4")
	inbound := smtptest.NewHost(t, smtptest.HostOptions{Name: "a.postrider.example", Listener: listeners[0]})
	s := suite.Start(t, suite.AllInOne, suite.Options{Settings: suite.Settings{
		"node.name": "a.postrider.example", "resolver.servers": []string{dnstest.Start(t, legalZone).Addr().String()},
		"sender.smtp_port": smtptest.Port(listeners[0]),
	}})
	mail := s.Mail(t)
	id := suite.Submit(ctx, t, mail, []byte(letter("user@people.example", "to the host beside us")), "user@people.example", "b@inbound.example")
	suite.Await(ctx, t, mail, id, "done", suite.Done)
	if got := inbound.Wait(1, limit); got[0].To()[0] != "b@inbound.example" {
		t.Errorf("mail to %v", got[0].To())
	}
}
