// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/textproto"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// receipt is the n-th delivery receipt of a mail system that writes each anew.
func receipt(n int) string {
	return fmt.Sprintf("From: Mail System <postmaster@relay.example>\r\nTo: operator@b.example\r\nSubject: Receipt %d\r\n"+
		"Message-ID: <%d.x@relay.example>\r\nDate: Mon, 02 Nov 2026 09:%02d:00 +0100\r\n\r\nYour message no. %d was delivered at 09:%02d.\r\n",
		n*7, n, n%60, n, n%60)
}

// response hands a receipt in by gRPC as software that passes mail on would: it carries a Received field.
func response(n int, change ...func(*gatewayv1.SubmitRequest)) *gatewayv1.SubmitRequest {
	r := request(to("operator@b.example"), body("Received: from x by y; Mon, 02 Nov 2026 09:30:00 +0100\r\n"+receipt(n)))
	r.Envelope.Sender = ""
	for _, c := range change {
		c(r)
	}
	return r
}

// beside runs another gateway on the same queue.
func (h *harness) beside() *harness {
	h.t.Helper()
	return start(h.t, func(other *harness) { other.server = h.server })
}

func (h *harness) decisions(id string) []*gatewayv1.Explanation {
	h.t.Helper()
	answer, err := h.mail.ExplainMessage(h.t.Context(), &gatewayv1.ExplainMessageRequest{MessageId: id})
	if err != nil {
		h.t.Fatalf("ExplainMessage: %v", rpc.FromError(err))
	}
	return answer.GetDecisions()
}

// explained returns the decision of a rule about a message.
func (h *harness) explained(id, rule string) *gatewayv1.Explanation {
	h.t.Helper()
	list := h.decisions(id)
	for _, e := range list {
		if e.GetRule() == rule {
			return e
		}
	}
	h.t.Fatalf("no decision of %s in %v", rule, list)
	return nil
}

// idOf returns the message id a refusal names.
func idOf(t *testing.T, err error) string {
	t.Helper()
	e := rpc.FromError(err)
	if e == nil {
		t.Fatal("no error")
	}
	for word := range strings.FieldsSeq(e.Message) {
		if len(word) == 26 {
			return word
		}
	}
	t.Fatalf("no message id in %q", e.Message)
	return ""
}

// TestL07_SixthEqualResponseIsRefused sends receipts that are written anew each time, by two gateways in turn.
func TestL07_SixthEqualResponseIsRefused(t *testing.T) {
	h := start(t)
	other := h.beside()
	for n := range 5 {
		accepted := []*harness{h, other}[n%2].submit(response(n))
		if e := h.explained(accepted.GetMessageId(), "L-07"); e.GetDecision() != "no_loop" || e.GetValues()["equal_responses"] != fmt.Sprint(n+1) || e.GetLimit() != "5" {
			t.Errorf("receipt %d: %v", n, e)
		}
	}
	_, err := other.mail.Submit(t.Context(), response(6))
	expect(t, err, codes.FailedPrecondition, "LOOP", "5.4.6", "")
	id := idOf(t, err)
	for name, gateway := range map[string]*harness{"the one that refused": other, "the one beside it": h} {
		if e := gateway.explained(id, "L-07"); e.GetDecision() != "refused" || e.GetValues()["equal_responses"] != "6" || e.GetLimit() != "5" {
			t.Errorf("%s: %v", name, e)
		}
	}
	checks := other.ended("gateway.loop_check")
	last := checks[len(checks)-1]
	for key, want := range map[string]string{
		"mail.loop.decision": "refuse", "mail.loop.rule": "L-07", "mail.loop.values": "equal_responses=6", "mail.loop.limit": "5", "mail.reason": "fingerprint",
	} {
		if got := value(last, key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	h.submit(response(7, to("another@b.example"))) // equal but for its recipient
	h.restart()                                    // the count and the refusal lie in the queue's store
	_, err = h.mail.Submit(t.Context(), response(8))
	expect(t, err, codes.FailedPrecondition, "LOOP", "5.4.6", "")
	if e := h.explained(id, "L-07"); e.GetDecision() != "refused" {
		t.Errorf("behind a restart: %v", e)
	}
	if n := len(h.records()); n != 6 {
		t.Errorf("%d records", n)
	}
}

// TestL07_BySMTPEveryResponseCounts: what comes by SMTP was handed on, also without a Received field.
func TestL07_BySMTPEveryResponseCounts(t *testing.T) {
	var b smtpBench
	h := start(t, b.on, func(h *harness) { h.cfg.SMTPTrustedNetworks = []string{"127.0.0.1"} })
	c := b.dial(t, "")
	for n := range 5 {
		if err := sendSMTP(c, "", receipt(n), "operator@b.example"); err != nil {
			t.Fatal(err)
		}
	}
	err := sendSMTP(c, "", receipt(6), "operator@b.example")
	reply, ok := errors.AsType[*textproto.Error](err)
	if !ok || !strings.HasPrefix(replyOf(reply), "554 5.4.6 message 01") || !strings.Contains(reply.Msg, "rule L-07 (fingerprint), equal_responses=6, limit 5") {
		t.Fatalf("%v", err)
	}
	id := strings.Fields(reply.Msg)[2]
	if e := h.explained(id, "L-07"); e.GetDecision() != "refused" {
		t.Errorf("%v", e)
	}
	auto := func(n int) string { return "Auto-Submitted: auto-replied (vacation)\r\n" + receipt(n) }
	for n := range 6 {
		err = sendSMTP(c, "person@a.example", auto(n), "operator@b.example")
	}
	if reply, ok := errors.AsType[*textproto.Error](err); !ok || reply.Code != 554 {
		t.Errorf("the sixth auto-reply: %v", err)
	}
}

// TestL07_WhatIsNotAResponseIsTaken: sixty equal messages each, of which none is a response in the sense of the rule.
func TestL07_WhatIsNotAResponseIsTaken(t *testing.T) {
	h := start(t)
	var log logLines
	h.stop()
	h.log = slog.New(slog.NewJSONHandler(&log, nil))
	h.run()
	for name, r := range map[string]func(n int) *gatewayv1.SubmitRequest{
		"ordinary": func(n int) *gatewayv1.SubmitRequest { return request(body(receipt(n))) },
		"auto-generated": func(n int) *gatewayv1.SubmitRequest {
			return request(body("Auto-Submitted: auto-generated\r\n"+receipt(n)), to("on-call@b.example"))
		},
		"null sender of a caller": func(n int) *gatewayv1.SubmitRequest {
			return response(n, body(receipt(n)), to("c@b.example"))
		},
		"our own notification": func(n int) *gatewayv1.SubmitRequest {
			return response(n, to("d@b.example"), func(r *gatewayv1.SubmitRequest) { r.Envelope.ReportsOn = "01HX0000000000000000000000" })
		},
	} {
		var last *gatewayv1.Accepted
		for n := range 60 {
			last = h.submit(r(n))
		}
		e := h.explained(last.GetMessageId(), "L-07")
		want, limit := "reported", "49"
		if name == "our own notification" {
			want, limit = "exempt", ""
		}
		if e.GetDecision() != want || e.GetLimit() != limit {
			t.Errorf("%s: %v", name, e)
		}
	}
	if n := len(h.records()); n != 240 {
		t.Errorf("%d of 240 were taken", n)
	}
	told := 0
	log.mu.Lock()
	for _, line := range log.lines {
		if line["msg"] == "repeated" && line["equal"] == 50.0 && line["level"] == "WARN" {
			told++
		}
	}
	log.mu.Unlock()
	if told != 3 {
		t.Errorf("told %d times in the log, want once for each kind that counts", told)
	}
}

// TestL07_OrdinaryMailAsksNoStore watches the bucket while ordinary mail comes.
func TestL07_OrdinaryMailAsksNoStore(t *testing.T) {
	h := start(t)
	asked, err := h.server.Conn().SubscribeSync("$JS.API.STREAM.MSG.GET.KV_" + bus.BucketFingerprints)
	if err != nil {
		t.Fatal(err)
	}
	written, err := h.server.Conn().SubscribeSync("$KV." + bus.BucketFingerprints + ".>")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.server.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	for n := range 9 {
		h.submit(request(body("Received: x\r\n" + receipt(n))))
	}
	h.submit(response(1)) // so that the subscriptions are known to see something
	if _, err := written.NextMsgWithContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := written.Pending(); n != 0 {
		t.Errorf("%d more writes", n)
	}
	if n, _, _ := asked.Pending(); n != 0 {
		t.Errorf("%d reads", n)
	}
}

// TestL07_WhatIsNotTakenDoesNotCount: a submission that fails for another reason may be repeated as often as it needs.
func TestL07_WhatIsNotTakenDoesNotCount(t *testing.T) {
	h := start(t)
	for range 10 {
		if _, err := h.keyed(t.Context(), response(1, key("the same"))); err != nil {
			t.Fatal(rpc.FromError(err))
		}
		if _, err := h.mail.Submit(t.Context(), response(1, body("Received: x\r\n"+receipt(1)+"\x00"))); err == nil {
			t.Fatal("a NUL was taken")
		}
	}
	if n := len(h.records()); n != 1 {
		t.Errorf("%d records", n)
	}
	for n := range 4 {
		h.submit(response(n))
	}
	_, err := h.mail.Submit(t.Context(), response(9))
	expect(t, err, codes.FailedPrecondition, "LOOP", "5.4.6", "")
}

// TestL10_OtherRulesHoldWithTheStoreAway removes the bucket under a running gateway.
func TestL10_OtherRulesHoldWithTheStoreAway(t *testing.T) {
	h := start(t, func(h *harness) { h.cfg.MaxHops = 10 })
	if err := h.server.JetStream().DeleteKeyValue(t.Context(), bus.BucketFingerprints); err != nil {
		t.Fatal(err)
	}
	accepted := h.submit(response(1))
	if e := h.explained(accepted.GetMessageId(), "L-07"); e.GetDecision() != "unshared" || e.GetValues()["equal_responses"] != "1" {
		t.Errorf("%v", e)
	}
	hops := strings.Repeat("Received: x\r\n", 11)
	_, err := h.mail.Submit(t.Context(), request(body(hops+text(0))))
	expect(t, err, codes.FailedPrecondition, "LOOP", "5.4.6", "")
	once := string(h.records()[0].content)
	h.submit(response(2, body(once)))
	all := h.records()
	_, err = h.mail.Submit(t.Context(), response(3, body(string(all[len(all)-1].content))))
	expect(t, err, codes.FailedPrecondition, "LOOP", "5.4.6", "envelope.recipients[0].address")
	for n := range 3 {
		h.submit(response(n))
	}
	_, err = h.mail.Submit(t.Context(), response(9)) // its own count holds
	expect(t, err, codes.FailedPrecondition, "LOOP", "5.4.6", "")
}

// TestL09_ExplainMessage: every rule with its values, also without a loop, and also when the view is folded anew.
func TestL09_ExplainMessage(t *testing.T) {
	h := start(t, withTokens(map[string]string{"shop": "submit", "other": "submit", "watcher": "submit, operator"}))
	shop := h.as("secret-shop")
	answer, err := shop.Submit(t.Context(), request(body("Received: x\r\nPostrider-Trace: v=1; i=x\r\n"+text(0))))
	if err != nil {
		t.Fatal(err)
	}
	id := answer.GetAccepted().GetMessageId()
	check := func(client gatewayv1.MailServiceClient) {
		t.Helper()
		explained, err := client.ExplainMessage(t.Context(), &gatewayv1.ExplainMessageRequest{MessageId: id})
		if err != nil {
			t.Fatal(rpc.FromError(err))
		}
		var got []string
		for _, e := range explained.GetDecisions() {
			got = append(got, e.GetRule()+" "+e.GetDecision()+" "+fmt.Sprint(e.GetValues())+" "+e.GetLimit())
		}
		want := "L-01 no_loop map[received:1] 100|L-03 no_loop map[hop_number:0] 100|L-04 no_loop map[own_trace_returns:0] 1|" +
			"L-07 no_loop map[equal_messages:1] 49|L-03 ignored map[foreign_traces:1] |Q-02 queued map[attempts:0] "
		if strings.Join(got, "|") != want {
			t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), want)
		}
	}
	check(shop)
	check(h.as("secret-watcher"))
	ask := func(token, id string) error {
		_, err := h.as(token).ExplainMessage(t.Context(), &gatewayv1.ExplainMessageRequest{MessageId: id})
		return err
	}
	expect(t, ask("secret-other", id), codes.NotFound, "MESSAGE_NOT_FOUND", "", "")
	expect(t, ask("secret-shop", "01HX0000000000000000000000"), codes.NotFound, "MESSAGE_NOT_FOUND", "", "")
	expect(t, ask("secret-shop", "x"), codes.InvalidArgument, "INVALID_MESSAGE_ID", "", "message_id")
	looping := strings.Repeat("Received: x\r\n", 101) + text(0)
	_, err = shop.Submit(t.Context(), request(body(looping)))
	refused := idOf(t, err)
	expect(t, ask("secret-other", refused), codes.NotFound, "MESSAGE_NOT_FOUND", "", "")
	if err := ask("secret-shop", refused); err != nil {
		t.Error(rpc.FromError(err))
	}
	h.stop()
	h.cfg.RebuildView = true
	h.run()
	check(h.as("secret-shop"))
	if err := ask("secret-shop", refused); err != nil {
		t.Errorf("behind a restart: %v", rpc.FromError(err))
	}
	if loop := h.records()[0].GetLoop(); len(loop.GetDecisions()) != 4 || loop.GetForeignTraces() != 1 || loop.GetDecisions()[0].GetResult() != eventv1.LoopResult_LOOP_RESULT_NO_LOOP {
		t.Errorf("the record holds %v", loop)
	}
}

// TestL06_StreamedInAnyPieces: the print of a message does not depend on how it is cut.
func TestL06_StreamedInAnyPieces(t *testing.T) {
	h := start(t)
	var err error
	for i, piece := range []int{1, 7, 100, 1 << 10, 1 << 20, 50} {
		_, err = stream(t.Context(), h.mail, response(i, body("Received: x\r\n"+receipt(i)+strings.Repeat("The same words again.\r\n", 500))), piece)
		if i < 5 && err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(rpc.FromError(err))
		}
	}
	expect(t, err, codes.FailedPrecondition, "LOOP", "5.4.6", "")
}
