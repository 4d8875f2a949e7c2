// SPDX-License-Identifier: Apache-2.0

package refusedrecipient_test

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"io"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // bodies in other charsets

	"github.com/postrider/postrider/e2e/suite"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/oteltest"
	"github.com/postrider/postrider/testkit/smtptest"
)

//go:embed zone.txt
var zone string

const refusal = "550 5.1.1 no mailbox of that name here"

func TestD01_RefusedRecipientComesBackToTheEnvelopeSender(t *testing.T) {
	for _, shape := range suite.Shapes() {
		t.Run(string(shape), func(t *testing.T) { run(t, shape) })
	}
}

func run(t *testing.T, shape suite.Shape) {
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	smtptest.NewHost(t, smtptest.HostOptions{
		Name: "mx1.recipient.example", Listener: listeners[0],
		OnRcpt: func(string, []string) string { return refusal },
	})
	backup := smtptest.NewHost(t, smtptest.HostOptions{Name: "mx2.recipient.example", Listener: listeners[1]})
	home := smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.sender.example", Listener: listeners[2]})
	sink := oteltest.Start(t)
	s := suite.Start(t, shape, suite.Options{Env: sink.Env(), Settings: suite.Settings{
		"resolver.servers": []string{dnstest.Start(t, zone).Addr().String()},
		"sender.smtp_port": smtptest.Port(listeners[0]),
	}})

	mail := s.Mail(t)
	answer, err := mail.Submit(t.Context(), &gatewayv1.SubmitRequest{
		Content: []byte("From: somebody.else@sender.example\r\nReply-To: other@sender.example\r\nTo: bob@recipient.example\r\n" +
			"Subject: a question\r\nDate: Mon, 02 Nov 2026 09:30:00 +0100\r\nMessage-ID: <refused@sender.example>\r\n\r\nWell?\r\n"),
		Envelope: &gatewayv1.Envelope{
			Sender: "alice@sender.example", Envid: "QQ314159",
			Recipients: []*gatewayv1.Recipient{{Address: "bob@recipient.example"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}

	bounce := home.Wait(1, 30*time.Second)[0]
	if bounce.From != "" || len(bounce.To()) != 1 || bounce.To()[0] != "alice@sender.example" {
		t.Errorf("notification from %q to %q, want the null sender and the envelope sender", bounce.From, bounce.To())
	}
	checkReport(t, bounce.Data)
	checkOneTrace(t, mail, answer.GetAccepted().GetMessageId(), sink)
	if n := home.Counts().Messages; n != 1 {
		t.Errorf("%d notifications, want one", n)
	}
	if n := backup.Counts().Accepted; n != 0 {
		t.Errorf("the backup MX was asked %d times after a final refusal", n)
	}
}

// checkReport takes the notification apart with a MIME reader that is not ours.
func checkReport(t *testing.T, data []byte) {
	t.Helper()
	entity, err := message.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("read notification: %v\n%s", err, data)
	}
	kind, params, err := entity.Header.ContentType()
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Errorf("content type %s %v %v", kind, params, err)
	}
	if got := entity.Header.Get("Auto-Submitted"); got != "auto-replied" {
		t.Errorf("Auto-Submitted: %q", got)
	}
	parts := entity.MultipartReader()
	if parts == nil {
		t.Fatalf("not multipart:\n%s", data)
	}
	bodies := map[string]string{}
	var order []string
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("next part: %v\n%s", err, data)
		}
		kind, _, err := part.Header.ContentType()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part.Body)
		if err != nil {
			t.Fatal(err)
		}
		bodies[kind] = string(body)
		order = append(order, kind)
	}
	if got := strings.Join(order, " "); got != "text/plain message/delivery-status text/rfc822-headers" {
		t.Errorf("parts %s", got)
	}
	if !strings.Contains(bodies["text/plain"], "bob@recipient.example") || !strings.Contains(bodies["text/plain"], "no mailbox of that name") {
		t.Errorf("the text does not say who and why:\n%s", bodies["text/plain"])
	}
	if !strings.Contains(bodies["text/rfc822-headers"], "Message-ID: <refused@sender.example>") {
		t.Errorf("returned headers:\n%s", bodies["text/rfc822-headers"])
	}
	checkFields(t, bodies["message/delivery-status"])
}

// checkFields reads the field groups of a delivery status (RFC 3464, section 2.1).
func checkFields(t *testing.T, status string) {
	t.Helper()
	reader := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.TrimRight(status, "\r\n") + "\r\n\r\n")))
	whole, err := reader.ReadMIMEHeader()
	if err != nil {
		t.Fatalf("per-message fields: %v\n%s", err, status)
	}
	each, err := reader.ReadMIMEHeader()
	if err != nil {
		t.Fatalf("per-recipient fields: %v\n%s", err, status)
	}
	for field, want := range map[string]string{
		"Reporting-Mta": "dns; postrider.example", "Original-Envelope-Id": "QQ314159",
	} {
		if got := whole.Get(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	for field, want := range map[string]string{
		"Final-Recipient": "rfc822; bob@recipient.example", "Action": "failed", "Status": "5.1.1",
		"Remote-Mta": "dns; mx1.recipient.example", "Diagnostic-Code": "smtp; " + refusal,
	} {
		if got := each.Get(field); !strings.EqualFold(got, want) {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}

// checkOneTrace wants the notification's making and delivery in the trace of the message.
func checkOneTrace(t *testing.T, mail gatewayv1.MailServiceClient, id string, sink *oteltest.Sink) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m := suite.Await(ctx, t, mail, id, "done", suite.Done)
	if got := m.GetRecipients()[0]; got.GetStatus() != "5.1.1" || got.GetReply().GetCode() != 550 {
		t.Errorf("status %v", got)
	}
	err := sink.WaitFor(ctx, func([]oteltest.Span) bool {
		trace := sink.Trace(m.GetTraceId())
		return len(trace.Named("dsn.decide")) > 0 && len(trace.Named("dsn.compose")) > 0 &&
			len(trace.Named("dsn.submit")) > 0 && len(trace.Named("gateway.submit")) >= 2 && len(trace.Named("sender.attempt")) == 2
	})
	if err != nil {
		t.Errorf("the notification is not in the trace of its message: %v\n%s", err, sink.Trace(m.GetTraceId()))
	}
}
