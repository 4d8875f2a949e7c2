// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestL02_OneReceivedFieldInFront(t *testing.T) {
	h := start(t)
	accepted := h.submit(request())
	all := h.records()
	if len(all) != 1 || all[0].GetMessageId() != accepted.GetMessageId() || accepted.GetRecipients() != 1 || accepted.GetDuplicate() {
		t.Fatalf("%d records, %v", len(all), accepted)
	}
	ours := all[0].submitted(t, text(0))
	header, err := mail.ReadMessage(strings.NewReader(ours + "\r\n"))
	if err != nil {
		t.Fatalf("our own fields are no header: %v", err)
	}
	received := header.Header["Received"]
	if len(received) != 1 || !strings.Contains(received[0], "by gateway.example") || !strings.Contains(received[0], "id "+accepted.GetMessageId()) {
		t.Errorf("Received: %q", received)
	}
	if len(header.Header["Postrider-Trace"]) != 1 || len(header.Header) != 2 {
		t.Errorf("our fields are %v", header.Header)
	}
	r := all[0]
	if r.GetCaller() != "loopback" || r.GetDestination() != "example.com" || r.GetParts() != 1 || r.GetContent().GetMessageIdHeader() != "<1@example.org>" {
		t.Errorf("record %v", r.QueuedMail)
	}
}

func TestG07_DateAndMessageIDAreAdded(t *testing.T) {
	h := start(t)
	content := "From: a@example.org\r\nBcc: hidden@example.com\r\n\r\nhello"
	accepted := h.submit(request(body(content)))
	r := h.records()[0]
	ours := r.submitted(t, "From: a@example.org\r\n\r\nhello\r\n")
	header, err := mail.ReadMessage(strings.NewReader(ours + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	at, err := header.Header.Date()
	if err != nil || at.Unix() != accepted.GetAcceptedAt().GetSeconds() {
		t.Errorf("Date %v, %v", at, err)
	}
	id := "<" + accepted.GetMessageId() + "@gateway.example>"
	if header.Header.Get("Message-ID") != id || r.GetContent().GetMessageIdHeader() != id {
		t.Errorf("Message-ID %q, in the record %q", header.Header.Get("Message-ID"), r.GetContent().GetMessageIdHeader())
	}
}

func TestRecordsOfManyDestinations(t *testing.T) {
	h := start(t)
	r := request(to("a@x.example", "b@y.example", "A@X.EXAMPLE", "a@X.example", "c@x.example"), body(text(10<<10)))
	accepted := h.submit(r)
	if accepted.GetRecipients() != 4 {
		t.Errorf("%d recipients, want 4 after joining equal ones", accepted.GetRecipients())
	}
	var got []string
	for _, record := range h.records() {
		record.submitted(t, string(r.GetContent()))
		for _, to := range record.GetEnvelope().GetRecipients() {
			got = append(got, fmt.Sprintf("%d/%d %s %d", record.GetPart(), record.GetParts(), record.GetDestination(), to.GetIndex()))
		}
	}
	want := []string{"1/2 x.example 0", "1/2 x.example 2", "1/2 x.example 4", "2/2 y.example 1"}
	if !slices.Equal(got, want) {
		t.Errorf("records %v", got)
	}
}

// TestWhereContentLies submits around the sizes at which a content leaves the segment.
func TestWhereContentLies(t *testing.T) {
	h := start(t)
	thousand := make([]string, 1000)
	for i := range thousand {
		thousand[i] = fmt.Sprintf("user@d%d.example", i)
	}
	cases := []struct {
		name   string
		r      *gatewayv1.SubmitRequest
		inline bool
	}{
		{"2 KiB to one", request(body(text(2 << 10))), true},
		{"63 KiB to one", request(body(text(63 << 10))), true},
		{"65 KiB to one", request(body(text(65 << 10))), false},
		{"2 KiB to a thousand", request(body(text(2<<10)), to(thousand...)), false},
		{"hello to a hundred", request(to(thousand[:100]...)), true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			accepted := h.submit(tc.r)
			n := 0
			for _, r := range h.records() {
				if r.GetMessageId() != accepted.GetMessageId() {
					continue
				}
				if n++; n == 1 {
					r.submitted(t, string(tc.r.GetContent()))
				}
				if inline := r.GetContent().GetBodyRef() == ""; inline != tc.inline {
					t.Fatalf("inline %v, want %v", inline, tc.inline)
				}
			}
			if n != len(tc.r.GetEnvelope().GetRecipients()) {
				t.Errorf("%d records", n)
			}
		})
	}
}

// TestQ06_AcceptedIsDurable cuts the queue's server off as kill -9 would, right after the answers.
func TestQ06_AcceptedIsDurable(t *testing.T) {
	h := start(t)
	want := map[string]string{}
	for i := range 5 {
		small, large := text(i*1000), text(70<<10+i)
		want[h.submit(request(body(small))).GetMessageId()] = small
		accepted, err := stream(t.Context(), h.mail, request(body(large)), 10_000)
		if err != nil {
			t.Fatal(err)
		}
		want[accepted.GetMessageId()] = large
	}
	h.server.Crash()
	for _, r := range h.records() {
		r.submitted(t, want[r.GetMessageId()])
		delete(want, r.GetMessageId())
	}
	if len(want) != 0 {
		t.Errorf("%d accepted messages are gone", len(want))
	}
}

func TestSubmitStreamGivesTheSameRecord(t *testing.T) {
	h := start(t)
	content := text(3 << 20)
	for _, piece := range []int{4 << 20, 100_000, 4099} {
		accepted, err := stream(t.Context(), h.mail, request(body(content)), piece)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range h.records() {
			if r.GetMessageId() == accepted.GetMessageId() {
				r.submitted(t, content)
			}
		}
	}
}

func TestSubmitManyAnswersEach(t *testing.T) {
	h := start(t)
	const n = 600
	s, err := h.mail.SubmitMany(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for i := range n {
			r := request()
			switch {
			case i%10 == 3:
				to("bad")(r)
			case i%100 == 7:
				body(text(100 << 10))(r)
			}
			if s.Send(&gatewayv1.SubmitManyRequest{Correlation: uint64(i), Envelope: r.GetEnvelope(), Content: r.GetContent()}) != nil {
				return
			}
		}
		_ = s.CloseSend()
	}()
	answered := map[uint64]bool{}
	ids := map[string]bool{}
	for {
		answer, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if answered[answer.GetCorrelation()] {
			t.Errorf("%d is answered twice", answer.GetCorrelation())
		}
		answered[answer.GetCorrelation()] = true
		if bad := answer.GetCorrelation()%10 == 3; bad != (answer.GetRefused() != nil) {
			t.Errorf("%d: %v", answer.GetCorrelation(), answer)
		}
		if id := answer.GetAccepted().GetMessageId(); id != "" {
			ids[id] = true
		}
	}
	if len(answered) != n || len(ids) != n-n/10 {
		t.Errorf("%d answers, %d messages", len(answered), len(ids))
	}
	for _, r := range h.records() {
		delete(ids, r.GetMessageId())
	}
	if len(ids) != 0 {
		t.Errorf("%d accepted messages are not in the queue", len(ids))
	}
}

// TestSubmitManyEndsWithTheGateway checks that an idle bulk stream does not keep the gateway from stopping.
func TestSubmitManyEndsWithTheGateway(t *testing.T) {
	h := start(t)
	s, err := h.mail.SubmitMany(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := request()
	if err := s.Send(&gatewayv1.SubmitManyRequest{Envelope: r.GetEnvelope(), Content: r.GetContent()}); err != nil {
		t.Fatal(err)
	}
	if answer, err := s.Recv(); err != nil || answer.GetAccepted() == nil {
		t.Fatalf("%v, %v", answer, err)
	}
	began := time.Now()
	ended := make(chan error, 1)
	go func() { _, err := s.Recv(); ended <- err }()
	conn := h.conn
	h.conn = h.dial(rpc.ClientOptions{}) // stop closes this one first
	h.stop()
	if e := rpc.FromError(<-ended); e.Code != codes.Unavailable {
		t.Errorf("the stream ended with %v", e)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("stopping took %v", took)
	}
	_ = conn.Close()
}

// TestG14_DeadlineLeavesNothingBehindOrTheKeyFindsIt holds the queue's answer back until the caller gave up.
func TestG14_DeadlineLeavesNothingBehindOrTheKeyFindsIt(t *testing.T) {
	h := start(t)
	warm, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if _, err := h.keyed(warm, request(key("warm"))); err != nil { // the view has caught up behind this
		t.Fatal(err)
	}
	h.server.HoldReplies()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := h.mail.Submit(ctx, request(key("once")))
	if e := rpc.FromError(err); e.Code != codes.DeadlineExceeded {
		t.Fatalf("while the answer is held: %v", err)
	}
	h.server.ReleaseReplies()
	first := h.submit(request(key("once")))
	second := h.submit(request(key("once")))
	if first.GetMessageId() != second.GetMessageId() || !second.GetDuplicate() {
		t.Errorf("first %v, second %v", first, second)
	}
	n := 0
	for _, r := range h.records() {
		if len(r.GetIdempotencyHash()) > 0 {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d messages under two keys", n)
	}
}

func TestGetMessage(t *testing.T) {
	h := start(t, withTokens(map[string]string{"shop": "submit", "other": "submit", "operator": "operator, submit"}))
	shop, other, operator := h.as("secret-shop"), h.as("secret-other"), h.as("secret-operator")
	answer, err := shop.Submit(t.Context(), request(to("b@x.example", "c@y.example")))
	if err != nil {
		t.Fatal(err)
	}
	ask := &gatewayv1.GetMessageRequest{MessageId: answer.GetAccepted().GetMessageId()}
	for name, client := range map[string]gatewayv1.MailServiceClient{"submitter": shop, "operator": operator} {
		got, err := client.GetMessage(t.Context(), ask)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m := got.GetMessage()
		if m.GetState() != gatewayv1.MessageState_MESSAGE_STATE_ACCEPTED || len(m.GetRecipients()) != 2 || m.GetSender() != "a@example.org" ||
			m.GetRecipients()[1].GetAddress() != "c@y.example" || m.GetViewLag() == nil || m.GetTraceId() == "" {
			t.Errorf("%s: %v", name, m)
		}
	}
	_, err = other.GetMessage(t.Context(), ask)
	expect(t, err, codes.NotFound, "MESSAGE_NOT_FOUND", "", "")
	_, err = shop.GetMessage(t.Context(), &gatewayv1.GetMessageRequest{MessageId: "x"})
	expect(t, err, codes.InvalidArgument, "INVALID_MESSAGE_ID", "", "message_id")
	_, err = shop.GetMessage(t.Context(), &gatewayv1.GetMessageRequest{MessageId: "01HX0000000000000000000000"})
	expect(t, err, codes.NotFound, "MESSAGE_NOT_FOUND", "", "")
}

func TestRestartedGatewayKnowsItsMessages(t *testing.T) {
	h := start(t)
	id := h.submit(request()).GetMessageId()
	h.restart()
	got, err := h.mail.GetMessage(t.Context(), &gatewayv1.GetMessageRequest{MessageId: id})
	if err != nil || len(got.GetMessage().GetRecipients()) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	h.cfg.RebuildView = true
	h.restart()
	got, err = h.mail.GetMessage(t.Context(), &gatewayv1.GetMessageRequest{MessageId: id})
	if err != nil || got.GetMessage().GetMessageId() != id {
		t.Errorf("%v, %v", got, err)
	}
}

func TestGatewayWaitsForTheQueue(t *testing.T) {
	h := start(t, func(h *harness) { h.server.Stop() }, func(h *harness) {
		go func(s *bustest.Server) { s.StartAgain() }(h.server)
	})
	h.submit(request())
}

func TestListAndWatchOverTheWire(t *testing.T) {
	h := start(t, withTokens(map[string]string{"shop": "submit", "operator": "operator, submit"}))
	shop, operator := h.as("secret-shop"), h.as("secret-operator")
	events, err := operator.WatchEvents(t.Context(), &gatewayv1.WatchEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *gatewayv1.WatchEventsResponse)
	ended := make(chan error, 1)
	go func() {
		for {
			e, err := events.Recv()
			if err != nil {
				ended <- err
				return
			}
			got <- e
		}
	}()
	// A watch without a cursor begins when the gateway gets to it, so messages are sent until one is seen.
	var seen *gatewayv1.WatchEventsResponse
	for seen == nil {
		if _, err := shop.Submit(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		select {
		case seen = <-got:
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	if seen.GetKind() != "accepted" || seen.GetCursor() == "" {
		t.Errorf("event %v", seen)
	}
	list, err := operator.ListMessages(t.Context(), &gatewayv1.ListMessagesRequest{})
	if err != nil || len(list.GetMessages()) == 0 {
		t.Errorf("%v, %v", list, err)
	}
	_, err = shop.ListMessages(t.Context(), &gatewayv1.ListMessagesRequest{})
	expect(t, err, codes.PermissionDenied, "RIGHT_MISSING", "5.7.1", "")
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for {
			select {
			case <-got:
			case err := <-ended:
				if e := rpc.FromError(err); e.Code != codes.Unavailable {
					t.Errorf("the watch ended with %v", e)
				}
				return
			}
		}
	}()
	h.stop()
	<-drained
}

func TestGatewayStopsWhileItWaitsForTheQueue(t *testing.T) {
	h := start(t)
	h.stop()
	h.server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := runner.Run(ctx, h.process()); err != nil {
		t.Errorf("stopped while it waits: %v", err)
	}
}
