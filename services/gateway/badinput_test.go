// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// TestBadInput shows that each kind of bad input gets its typed error over a real connection, by Submit, by SubmitStream
// and by SubmitMany alike, and that none of it reaches the queue.
func TestBadInput(t *testing.T) {
	h := start(t, withTokens(map[string]string{"shop": "submit", "dsn": "submit, null_sender", "watcher": "operator"}))
	type change = func(*gatewayv1.SubmitRequest)
	from := "From: a@example.org\r\n"
	received := strings.Repeat("Received: from x by y; Mon, 1 Jan 2024 00:00:00 +0000\r\n", 101)
	recipients := make([]string, 1001)
	for i := range recipients {
		recipients[i] = fmt.Sprintf("user%d@example.com", i)
	}
	cases := []struct {
		name     string
		token    string // "" is that of shop
		change   change
		code     codes.Code
		reason   string
		enhanced string
		fields   string
	}{
		{"TokenMissing", "-", nil, codes.Unauthenticated, "TOKEN_MISSING", "5.7.0", ""},
		{"TokenWrong", "secret-x", nil, codes.Unauthenticated, "TOKEN_INVALID", "5.7.8", ""},
		{"TokenWithoutRight", "secret-watcher", nil, codes.PermissionDenied, "RIGHT_MISSING", "5.7.1", ""},
		{"NoEnvelope", "", func(r *gatewayv1.SubmitRequest) { r.Envelope = nil }, codes.InvalidArgument, "INVALID_ENVELOPE", "5.5.4", "envelope"},
		{"G01_Recipient", "", to("good@example.com", "bad"), codes.InvalidArgument, "INVALID_RECIPIENT", "5.1.3", "envelope.recipients[1].address"},
		{"G02_RecipientCRLF", "", to("b@example.com\r\nDATA"), codes.InvalidArgument, "INVALID_RECIPIENT", "5.1.3", "envelope.recipients[0].address"},
		{"G02_SenderCRLF", "", func(r *gatewayv1.SubmitRequest) { r.Envelope.Sender = "a@example.org\r\nRCPT TO:<x@example.com>" }, codes.InvalidArgument, "INVALID_SENDER", "5.1.7", "envelope.sender"},
		{"G02_EnvidCRLF", "", func(r *gatewayv1.SubmitRequest) { r.Envelope.Envid = "a\r\nb" }, codes.InvalidArgument, "INVALID_DSN_PARAMETER", "5.5.4", "envelope.envid"},
		{"G03_NullSender", "", func(r *gatewayv1.SubmitRequest) { r.Envelope.Sender = "" }, codes.PermissionDenied, "RIGHT_MISSING", "5.7.1", "envelope.sender"},
		{"G04_NoRecipients", "", to(), codes.InvalidArgument, "RECIPIENT_COUNT", "5.5.3", "envelope.recipients"},
		{"G04_TooManyRecipients", "", to(recipients...), codes.InvalidArgument, "RECIPIENT_COUNT", "5.5.3", "envelope.recipients"},
		{"G05_AllFaults", "", func(r *gatewayv1.SubmitRequest) { to("x", "b@example.com", "y")(r); r.Envelope.Tag = "\n" }, codes.InvalidArgument, "INVALID_ENVELOPE", "5.5.4", "envelope.tag,envelope.recipients[0].address,envelope.recipients[2].address"},
		{"D04_Notify", "", func(r *gatewayv1.SubmitRequest) {
			r.Envelope.Recipients[0].Notify = []eventv1.Notify{eventv1.Notify_NOTIFY_NEVER, eventv1.Notify_NOTIFY_SUCCESS}
		}, codes.InvalidArgument, "INVALID_DSN_PARAMETER", "5.5.4", "envelope.recipients[0].notify"},
		{"G07_NoHeader", "", body("just some text\r\n"), codes.InvalidArgument, "HEADER_MALFORMED", "5.6.0", "content"},
		{"G07_BodyOnly", "", body("\r\njust some text\r\n"), codes.InvalidArgument, "FROM_MISSING", "5.6.0", "content"},
		{"G07_Empty", "", body(""), codes.InvalidArgument, "FROM_MISSING", "5.6.0", "content"},
		{"G07_TwoFrom", "", body(from + from + "\r\n"), codes.InvalidArgument, "FIELD_REPEATED", "5.6.0", "content"},
		{"G07_TooManyFields", "", body(from + strings.Repeat("X: y\r\n", 2000) + "\r\n"), codes.InvalidArgument, "HEADER_TOO_LARGE", "5.6.0", "content"},
		{"G07_HeaderTooLarge", "", body(from + strings.Repeat("X: "+strings.Repeat("y", 900)+"\r\n", 1200) + "\r\n"), codes.InvalidArgument, "HEADER_TOO_LARGE", "5.6.0", "content"},
		{"S66_LongLine", "", body(from + "\r\n" + strings.Repeat("x", 999) + "\r\n"), codes.InvalidArgument, "LINE_TOO_LONG", "5.6.0", "content"},
		{"G08_BareLF", "", body(from + "\r\nx\n.\ny\r\n"), codes.InvalidArgument, "BARE_NEWLINE", "5.6.0", "content"},
		{"G08_BareCR", "", body(from + "\r\nx\ry\r\n"), codes.InvalidArgument, "BARE_NEWLINE", "5.6.0", "content"},
		{"G09_NUL", "", body(from + "\r\nx\x00y\r\n"), codes.InvalidArgument, "NUL_BYTE", "5.6.0", "content"},
		{"L01_Hops", "", body(received + from + "\r\n"), codes.FailedPrecondition, "LOOP", "5.4.6", ""},
	}
	ways := map[string]func(gatewayv1.MailServiceClient, *gatewayv1.SubmitRequest) error{
		"Submit": func(c gatewayv1.MailServiceClient, r *gatewayv1.SubmitRequest) error {
			_, err := c.Submit(t.Context(), r)
			return err
		},
		"SubmitStream": func(c gatewayv1.MailServiceClient, r *gatewayv1.SubmitRequest) error {
			_, err := stream(t.Context(), c, r, 1000)
			return err
		},
		"SubmitMany": many(t.Context()),
	}
	for _, tc := range cases {
		for way, call := range ways {
			t.Run(tc.name+"/"+way, func(t *testing.T) {
				token := tc.token
				if token == "" {
					token = "secret-shop"
				}
				r := request()
				if tc.change != nil {
					tc.change(r)
				}
				if r.GetEnvelope() == nil && way == "SubmitStream" {
					return // there it is a stream out of order: TestStreamOutOfOrder
				}
				expect(t, call(h.as(strings.TrimPrefix(token, "-")), r), tc.code, tc.reason, tc.enhanced, tc.fields)
			})
		}
	}
	if left := h.records(); len(left) != 0 {
		t.Errorf("%d records of bad input are in the queue", len(left))
	}
	if left := h.bodies(); len(left) != 0 {
		t.Errorf("%d contents of bad input are in the body store", len(left))
	}
}

// expect checks what a caller sees of an error (G-16).
func expect(t *testing.T, err error, code codes.Code, reason, enhanced, fields string) {
	t.Helper()
	e := rpc.FromError(err)
	if e == nil {
		t.Fatal("no error")
	}
	named := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		named[i] = f.Field
		if f.Description == "" {
			t.Errorf("field %s has no description", f.Field)
		}
	}
	if e.Code != code || e.Reason != reason || e.Enhanced.String() != enhanced || strings.Join(named, ",") != fields || e.Message == "" {
		t.Errorf("got %v %s %s %v %q\nwant %v %s %s [%s]", e.CodeWord(), e.Reason, e.Enhanced, named, e.Message, code, reason, enhanced, fields)
	}
}

// many submits one message by SubmitMany and returns what became of it.
func many(ctx context.Context) func(gatewayv1.MailServiceClient, *gatewayv1.SubmitRequest) error {
	return func(c gatewayv1.MailServiceClient, r *gatewayv1.SubmitRequest) error {
		s, err := c.SubmitMany(ctx)
		if err != nil {
			return err
		}
		if err := s.Send(&gatewayv1.SubmitManyRequest{Correlation: 7, Envelope: r.GetEnvelope(), Content: r.GetContent()}); err == nil {
			_ = s.CloseSend()
		}
		answer, err := s.Recv()
		if err != nil {
			return err
		}
		return refusedAs(answer.GetRefused())
	}
}

// refusedAs returns a refusal as the error Submit would have given.
func refusedAs(r *gatewayv1.Refusal) error {
	if r == nil {
		return nil
	}
	e := &rpc.Error{Code: codes.Code(r.GetCode()), Reason: r.GetReason(), Message: r.GetMessage(), RetryAfter: r.GetRetryAfter().AsDuration()}
	e.Enhanced = enhanced(r.GetEnhanced())
	for _, f := range r.GetFields() {
		e.Fields = append(e.Fields, rpc.Field{Field: f.GetField(), Description: f.GetDescription()})
	}
	return e
}

func TestG06_Oversize(t *testing.T) {
	h := start(t, func(h *harness) { h.cfg.MaxMessageSize = 8 << 20 })
	for name, tc := range map[string]struct {
		size   int
		submit bool
		way    string
	}{
		"submit under 4 MiB":     {4<<20 - 1000, true, "submit"},
		"submit over 4 MiB":      {4<<20 + 1, false, "submit"},
		"many over 4 MiB":        {4<<20 + 1, false, "many"},
		"stream over 4 MiB":      {4<<20 + 1, true, "stream"},
		"stream under the limit": {8<<20 - 1000, true, "stream"},
		"stream over the limit":  {8<<20 + 1, false, "stream"},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(body(text(tc.size)))
			var err error
			switch tc.way {
			case "submit":
				_, err = h.mail.Submit(t.Context(), r)
			case "many":
				err = many(t.Context())(h.mail, r)
			default:
				_, err = stream(t.Context(), h.mail, r, 1<<20)
			}
			if tc.submit {
				if err != nil {
					t.Error(err)
				}
				return
			}
			expect(t, err, codes.InvalidArgument, "MESSAGE_TOO_LARGE", "5.3.4", "content")
		})
	}
	if n := len(h.bodies()); n != 3 {
		t.Errorf("%d contents are in the body store, want those of the 3 accepted messages", n)
	}
}

// TestG06_StreamIsStoppedEarly sends without end: the answer must come at the limit.
func TestG06_StreamIsStoppedEarly(t *testing.T) {
	h := start(t, func(h *harness) { h.cfg.MaxMessageSize = 1 << 20 })
	s, err := h.mail.SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Send(&gatewayv1.SubmitStreamRequest{Part: &gatewayv1.SubmitStreamRequest_Envelope{Envelope: request().GetEnvelope()}})
	piece := []byte(text(100 << 10))
	for sent := 0; ; sent += len(piece) {
		if err := s.Send(&gatewayv1.SubmitStreamRequest{Part: &gatewayv1.SubmitStreamRequest_Content{Content: piece}}); err != nil {
			break
		}
		piece = []byte(strings.Repeat("0123456789\r\n", 8<<10))
		if sent > 64<<20 {
			t.Fatal("the stream is not stopped")
		}
	}
	_, err = s.CloseAndRecv()
	expect(t, err, codes.InvalidArgument, "MESSAGE_TOO_LARGE", "5.3.4", "content")
}

func TestStreamOutOfOrder(t *testing.T) {
	h := start(t)
	content := &gatewayv1.SubmitStreamRequest{Part: &gatewayv1.SubmitStreamRequest_Content{Content: []byte(text(0))}}
	envelope := &gatewayv1.SubmitStreamRequest{Part: &gatewayv1.SubmitStreamRequest_Envelope{Envelope: request().GetEnvelope()}}
	for name, parts := range map[string][]*gatewayv1.SubmitStreamRequest{
		"nothing": {}, "content first": {content}, "two envelopes": {envelope, content, envelope}, "empty message": {{}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := h.mail.SubmitStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range parts {
				_ = s.Send(p)
			}
			_, err = s.CloseAndRecv()
			expect(t, err, codes.InvalidArgument, "INVALID_STREAM", "5.5.1", "envelope")
		})
	}
}

// TestG13_QueueAway takes the queue's server away and brings it back.
func TestG13_QueueAway(t *testing.T) {
	h := start(t)
	h.server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for name, err := range map[string]error{
		"Submit":       func() error { _, err := h.mail.Submit(ctx, request()); return err }(),
		"keyed Submit": func() error { _, err := h.mail.Submit(ctx, request(key("k"))); return err }(),
		"SubmitStream": func() error { _, err := stream(ctx, h.mail, request(), 100); return err }(),
		"SubmitMany":   many(ctx)(h.mail, request()),
	} {
		e := rpc.FromError(err)
		if e == nil || e.Code != codes.Unavailable || e.Reason != "QUEUE_UNAVAILABLE" || e.Enhanced.String() != "4.3.2" || e.RetryAfter <= 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.server.StartAgain()
	for {
		_, err := h.mail.Submit(ctx, request())
		if err == nil {
			break
		}
		if e := rpc.FromError(err); e.Code != codes.Unavailable {
			t.Fatal(err)
		}
		waitFor(ctx, t, 20*time.Millisecond)
	}
	if n := len(h.records()); n != 1 {
		t.Errorf("%d records, want the one that was accepted", n)
	}
}

// waitFor is the pause of a caller that tries again, as RetryInfo asks it to.
func waitFor(ctx context.Context, t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
}

// TestG13_QueueFull fills the queue up to its limit.
func TestG13_QueueFull(t *testing.T) {
	h := start(t, func(h *harness) { h.cfg.QueueLimit = 1 << 20 }, withTokens(map[string]string{"shop": "submit", "dsn": "submit, null_sender"}))
	shop := h.as("secret-shop")
	accepted := 0
	var refused error
	for range 100 {
		if _, refused = shop.Submit(t.Context(), request(body(text(60<<10)))); refused != nil {
			break
		}
		accepted++
	}
	e := rpc.FromError(refused)
	if e == nil || e.Code != codes.ResourceExhausted || e.Reason != "QUEUE_FULL" || e.Enhanced.String() != "4.3.1" || e.RetryAfter <= 0 {
		t.Fatalf("after %d messages: %v", accepted, refused)
	}
	if accepted < 10 || accepted > 18 {
		t.Errorf("%d messages of 60 KiB fit into 1 MiB", accepted)
	}
	notification := request()
	notification.Envelope.Sender, notification.Envelope.ReportsOn = "", "01HX0000000000000000000000"
	if _, err := h.as("secret-dsn").Submit(t.Context(), notification); err != nil {
		t.Errorf("a notification is taken a little longer: %v", err)
	}
}

func enhanced(text string) smtpreply.EnhancedCode {
	code, _, _ := smtpreply.ParseEnhanced(text)
	return code
}
