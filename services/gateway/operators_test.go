// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const (
	queued     = eventv1.RecipientState_RECIPIENT_STATE_QUEUED
	held       = eventv1.RecipientState_RECIPIENT_STATE_HELD
	cancelling = eventv1.RecipientState_RECIPIENT_STATE_CANCELLING
	cancelled  = eventv1.RecipientState_RECIPIENT_STATE_CANCELLED
)

func (h *harness) queue() gatewayv1.QueueServiceClient {
	return gatewayv1.NewQueueServiceClient(h.conn)
}

// shown returns the state and reason each recipient is shown in.
func (h *harness) shown(id string) (states []eventv1.RecipientState, reasons []string) {
	h.t.Helper()
	answer, err := h.mail.GetMessage(h.t.Context(), &gatewayv1.GetMessageRequest{MessageId: id})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, r := range answer.GetMessage().GetRecipients() {
		states, reasons = append(states, r.GetState()), append(reasons, r.GetReason())
	}
	return states, reasons
}

// folded waits until the view shows the recipients of a message.
func (h *harness) folded(id string) {
	h.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if states, _ := h.shown(id); len(states) > 0 {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatal("the view does not show the message")
		}
	}
}

// listed returns the messages in a state.
func (h *harness) listed(states ...eventv1.RecipientState) []string {
	h.t.Helper()
	answer, err := h.mail.ListMessages(h.t.Context(), &gatewayv1.ListMessagesRequest{States: states})
	if err != nil {
		h.t.Fatal(err)
	}
	var ids []string
	for _, m := range answer.GetMessages() {
		ids = append(ids, m.GetMessageId())
	}
	return ids
}

func messages(ids ...string) *gatewayv1.Selection { return &gatewayv1.Selection{MessageIds: ids} }
func destinations(names ...string) *gatewayv1.Selection {
	return &gatewayv1.Selection{Destinations: names}
}

func TestQ13_SelectionsAtFault(t *testing.T) {
	h := start(t)
	many := make([]string, 1001)
	for i := range many {
		many[i] = fmt.Sprintf("d%d.example", i)
	}
	none := ulid.Make().String()
	for name, c := range map[string]struct {
		of     *gatewayv1.Selection
		code   codes.Code
		reason string
		field  string
	}{
		"nothing":              {nil, codes.InvalidArgument, "INVALID_SELECTION", "selection"},
		"both":                 {&gatewayv1.Selection{MessageIds: []string{none}, Destinations: []string{"a.example"}}, codes.InvalidArgument, "INVALID_SELECTION", "selection"},
		"no id":                {messages("x"), codes.InvalidArgument, "INVALID_SELECTION", "selection.message_ids[0]"},
		"no domain":            {destinations("a.example", "a b"), codes.InvalidArgument, "INVALID_SELECTION", "selection.destinations[1]"},
		"too many":             {destinations(many...), codes.InvalidArgument, "INVALID_SELECTION", "selection.destinations"},
		"a message unheard of": {messages(none), codes.NotFound, "MESSAGE_NOT_FOUND", "selection.message_ids[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.queue().RetryNow(t.Context(), &gatewayv1.RetryNowRequest{Selection: c.of})
			expect(t, err, c.code, c.reason, "", c.field)
			_, err = h.queue().HoldMessages(t.Context(), &gatewayv1.HoldMessagesRequest{Selection: c.of})
			expect(t, err, c.code, c.reason, "", c.field)
			_, err = h.queue().ReleaseMessages(t.Context(), &gatewayv1.ReleaseMessagesRequest{Selection: c.of})
			expect(t, err, c.code, c.reason, "", c.field)
		})
	}
	_, err := h.queue().SuspendDestination(t.Context(), &gatewayv1.SuspendDestinationRequest{Domain: "a..b"})
	expect(t, err, codes.InvalidArgument, "INVALID_DOMAIN", "", "domain")
	_, err = h.queue().SuspendDestination(t.Context(), &gatewayv1.SuspendDestinationRequest{Domain: "a.example", Reason: strings.Repeat("x", 201)})
	expect(t, err, codes.InvalidArgument, "INVALID_REASON", "", "reason")
	_, err = h.queue().ResumeDestination(t.Context(), &gatewayv1.ResumeDestinationRequest{})
	expect(t, err, codes.InvalidArgument, "INVALID_DOMAIN", "", "domain")
	_, err = h.queue().ListDestinations(t.Context(), &gatewayv1.ListDestinationsRequest{PageToken: "?"})
	expect(t, err, codes.InvalidArgument, "INVALID_PAGE", "", "page_token")
	_, err = h.mail.CancelMessage(t.Context(), &gatewayv1.CancelMessageRequest{MessageId: "x"})
	expect(t, err, codes.InvalidArgument, "INVALID_MESSAGE_ID", "", "message_id")
	_, err = h.mail.CancelMessage(t.Context(), &gatewayv1.CancelMessageRequest{MessageId: none})
	expect(t, err, codes.NotFound, "MESSAGE_NOT_FOUND", "", "")
}

func TestQ13_SuspendedIsShownAndAskedForOnce(t *testing.T) {
	h := start(t)
	id := h.submit(request(to("a@Example.COM", "b@other.example"))).GetMessageId()
	h.folded(id)
	suspend := func(domain string) string {
		t.Helper()
		answer, err := h.queue().SuspendDestination(t.Context(), &gatewayv1.SuspendDestinationRequest{Domain: domain, Reason: "moving"})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetChangeId()
	}
	first := suspend("EXAMPLE.com")
	if again := suspend("example.com"); again != first {
		t.Errorf("suspended twice: %s, %s", first, again)
	}
	states, reasons := h.shown(id)
	if !slices.Equal(states, []eventv1.RecipientState{held, queued}) || reasons[0] != "suspended" {
		t.Errorf("%v %v", states, reasons)
	}
	if got := h.listed(held); !slices.Equal(got, []string{id}) {
		t.Errorf("held: %v", got)
	}
	list, err := h.queue().ListDestinations(t.Context(), &gatewayv1.ListDestinationsRequest{PageSize: 1})
	if err != nil || len(list.GetDestinations()) != 1 || list.GetNextPageToken() == "" {
		t.Fatalf("%v, %v", list, err)
	}
	d := list.GetDestinations()[0]
	if d.GetDomain() != "example.com" || d.GetWaiting() != 1 || d.GetSuspendedBy() != "loopback" || d.GetSuspendedAt() == nil || d.GetOldest() == nil {
		t.Errorf("%v", d)
	}
	list, err = h.queue().ListDestinations(t.Context(), &gatewayv1.ListDestinationsRequest{PageSize: 1, PageToken: list.GetNextPageToken()})
	if err != nil || len(list.GetDestinations()) != 1 || list.GetDestinations()[0].GetDomain() != "other.example" || list.GetNextPageToken() != "" {
		t.Fatalf("%v, %v", list, err)
	}
	h.restart() // durable
	if states, _ := h.shown(id); !slices.Equal(states, []eventv1.RecipientState{held, queued}) {
		t.Errorf("after a restart: %v", states)
	}
	resumed, err := h.queue().ResumeDestination(t.Context(), &gatewayv1.ResumeDestinationRequest{Domain: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if states, _ := h.shown(id); !slices.Equal(states, []eventv1.RecipientState{queued, queued}) {
		t.Errorf("resumed: %v", states)
	}
	again, err := h.queue().ResumeDestination(t.Context(), &gatewayv1.ResumeDestinationRequest{Domain: "example.com"})
	if err != nil || again.GetChangeId() != resumed.GetChangeId() {
		t.Errorf("resumed twice: %v, %v", again, err)
	}
	if third := suspend("example.com"); third == first {
		t.Error("suspended anew, and the old change was answered with")
	}
}

func TestQ13_HeldAndReleased(t *testing.T) {
	h := start(t)
	one, two := h.submit(request()).GetMessageId(), h.submit(request()).GetMessageId()
	h.folded(two)
	hold := func(of *gatewayv1.Selection) string {
		t.Helper()
		answer, err := h.queue().HoldMessages(t.Context(), &gatewayv1.HoldMessagesRequest{Selection: of})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetChangeId()
	}
	first := hold(messages(one))
	if hold(messages(one, one)) != first {
		t.Error("held twice")
	}
	if got := h.listed(held); !slices.Equal(got, []string{one}) {
		t.Errorf("held: %v", got)
	}
	if got := h.listed(queued); !slices.Equal(got, []string{two}) {
		t.Errorf("queued: %v", got)
	}
	if _, err := h.queue().ReleaseMessages(t.Context(), &gatewayv1.ReleaseMessagesRequest{Selection: destinations("*")}); err != nil {
		t.Fatal(err)
	}
	if got := h.listed(held); len(got) != 0 {
		t.Errorf("still held: %v", got)
	}
	if hold(messages(one)) == first {
		t.Error("held anew, and the old change was answered with")
	}
	hold(destinations("example.com"))
	later := h.submit(request()).GetMessageId()
	h.folded(later)
	if states, reasons := h.shown(two); states[0] != held || reasons[0] != "held" {
		t.Errorf("held by its domain: %v %v", states, reasons)
	}
	if states, _ := h.shown(later); states[0] != queued {
		t.Errorf("what comes after the hold is %v", states)
	}
}

func TestQ13_CancelSaysCancellingUntilAnOutcomeSaysMore(t *testing.T) {
	h := start(t, withTokens(map[string]string{"shop": "submit", "other": "submit", "boss": "submit, operator"}))
	shop, other, boss := h.as("secret-shop"), h.as("secret-other"), h.as("secret-boss")
	answer, err := shop.Submit(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	id := answer.GetAccepted().GetMessageId()
	cancel := func(mail gatewayv1.MailServiceClient) (*gatewayv1.CancelMessageResponse, error) {
		ctx, done := context.WithTimeout(t.Context(), 20*time.Second)
		defer done()
		for {
			m, err := mail.CancelMessage(ctx, &gatewayv1.CancelMessageRequest{MessageId: id})
			if e := rpc.FromError(err); e == nil || e.Code != codes.Unavailable || ctx.Err() != nil {
				return m, err // the view may not know yet whose it is
			}
		}
	}
	_, err = cancel(other)
	expect(t, err, codes.NotFound, "MESSAGE_NOT_FOUND", "", "")
	_, err = gatewayv1.NewQueueServiceClient(h.dial(rpc.ClientOptions{Token: "secret-shop"})).RetryNow(t.Context(), &gatewayv1.RetryNowRequest{})
	expect(t, err, codes.PermissionDenied, "RIGHT_MISSING", "5.7.1", "")
	m, err := cancel(shop)
	if err != nil || m.GetMessage().GetRecipients()[0].GetState() != cancelling {
		t.Fatalf("%v, %v", m, err)
	}
	if _, err := cancel(boss); err != nil {
		t.Fatal(err)
	}
	js := h.server.JetStream()
	changes, err := js.Stream(t.Context(), "KV_"+bus.BucketChanges)
	if err != nil || changes.CachedInfo().State.Msgs != 1 {
		t.Errorf("%v changes are stored, %v", changes.CachedInfo().State.Msgs, err)
	}
	// What a sender makes of it.
	o := &eventv1.Outcome{
		Id: id + ".1.1", MessageId: id, Part: 1, Parts: 1, Destination: "example.com", Actor: "shop",
		Results: []*eventv1.RecipientResult{{
			Recipient: &eventv1.Recipient{Address: "b@example.com"}, State: cancelled, Failure: &eventv1.Failure{Reason: "cancelled"},
		}},
	}
	f, err := bus.FrameOutcome(o)
	if err != nil {
		t.Fatal(err)
	}
	a := bus.NewAppender(js, bus.AppenderOptions{Subjects: []string{bus.OutcomeSubject(bus.Quiet, 0)}})
	defer func() { _ = a.Close(t.Context()) }()
	if _, err := a.Append(t.Context(), []bus.Frame{f}); err != nil {
		t.Fatal(err)
	}
	if m, err = cancel(shop); err != nil || m.GetMessage().GetRecipients()[0].GetState() != cancelled {
		t.Errorf("%v, %v", m, err)
	}
}
