// SPDX-License-Identifier: Apache-2.0

package replyduringdata_test

import (
	"bytes"
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
	size = 5 << 20
)

func TestS57_ReplyInTheMiddleOfData(t *testing.T) {
	for _, shape := range suite.Shapes() {
		t.Run(string(shape), func(t *testing.T) { run(t, shape) })
	}
}

func run(t *testing.T, shape suite.Shape) {
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3")
	left := make(chan smtptest.Closed, 1)
	small := make(chan []byte, 10)
	breaking := smtptest.ServeOn(t, listeners[0], func(c *smtptest.Conn) {
		c.Greet("mx.recipient.example", "PIPELINING")
		c.Envelope()
		c.ReadN(64 << 10)
		c.Send("552 message too large\r\n421 closing\r\n")
		c.FIN()
		left <- c.StopReading()
	}, func(c *smtptest.Conn) {
		c.Greet("mx.recipient.example", "PIPELINING")
		small <- c.Take()
		c.Quit()
	})
	home := smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.sender.example", Listener: listeners[1]})
	s := suite.Start(t, shape, suite.Options{Settings: suite.Settings{
		"resolver.servers": []string{dnstest.Start(t, zone).Addr().String()},
		"sender.smtp_port": smtptest.Port(listeners[0]),
	}})
	mail := s.Mail(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	begin := time.Now()
	id := suite.Submit(ctx, t, mail, content(size), "a@sender.example", "b@recipient.example")
	closed := receive(ctx, t, left, "the breaking host's connection to end")
	if closed.Kind != smtptest.ClosedReset || closed.After > 2*time.Second {
		t.Errorf("the connection ended by %s after %s, want a reset within 2 s", closed.Kind, closed.After)
	}
	m := suite.Await(ctx, t, mail, id, "done", suite.Done)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("bounced after %s, want 5 s at most", took)
	}
	r := m.GetRecipients()[0]
	if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_BOUNCED || r.GetStatus() != "5.3.4" || r.GetReply().GetCode() != 552 {
		t.Errorf("recipient %v, want bounced, 5.3.4, 552", r)
	}
	if notice := string(home.Wait(1, 30*time.Second)[0].Data); !strings.Contains(notice, "552 message too large") {
		t.Errorf("the notification does not say what the host said:\n%s", notice)
	}

	suite.Submit(ctx, t, mail, content(1<<10), "a@sender.example", "b@recipient.example")
	if got := receive(ctx, t, small, "other mail to that host"); !bytes.HasSuffix(got, content(1<<10)) {
		t.Errorf("other mail arrived changed: %q", got)
	}
	breaking.Wait(2, 30*time.Second)
}

func receive[T any](ctx context.Context, t *testing.T, from <-chan T, what string) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-ctx.Done():
		t.Fatalf("waited in vain for %s", what)
	}
	return got
}

func content(size int) []byte {
	const header = "From: a@sender.example\r\nSubject: data\r\nMessage-ID: <during-data@sender.example>\r\nDate: Mon, 02 Nov 2026 09:30:00 +0100\r\n\r\n"
	return []byte(header + strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72+1))
}
