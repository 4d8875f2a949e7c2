// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// keyed submits under a key, and again while the gateway says that it cannot tell yet.
func (h *harness) keyed(ctx context.Context, r *gatewayv1.SubmitRequest) (*gatewayv1.Accepted, error) {
	for {
		answer, err := h.mail.Submit(ctx, r)
		e := rpc.FromError(err)
		if e == nil || e.Code != codes.Unavailable || ctx.Err() != nil {
			return answer.GetAccepted(), err
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestG12_SameKeySameContentSameMessage(t *testing.T) {
	h := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := request(key("order-1"), to("b@x.example", "c@y.example"))
	first, err := h.keyed(ctx, r)
	if err != nil || first.GetDuplicate() || first.GetRecipients() != 2 {
		t.Fatalf("%v, %v", first, err)
	}
	check := func(when string) {
		t.Helper()
		again, err := h.keyed(ctx, r)
		if err != nil || again.GetMessageId() != first.GetMessageId() || !again.GetDuplicate() || again.GetRecipients() != 2 ||
			!again.GetAcceptedAt().AsTime().Equal(first.GetAcceptedAt().AsTime()) {
			t.Errorf("%s: %v, %v, first %v", when, again, err, first)
		}
		_, err = h.keyed(ctx, request(key("order-1"), to("b@x.example")))
		expect(t, err, codes.AlreadyExists, "KEY_REUSED", "5.5.4", "envelope.idempotency_key")
		_, err = h.keyed(ctx, request(key("order-1"), to("b@x.example", "c@y.example"), body(text(500))))
		expect(t, err, codes.AlreadyExists, "KEY_REUSED", "5.5.4", "envelope.idempotency_key")
	}
	check("at once")
	h.restart()
	check("after a restart of the gateway")
	h.server.Crash()
	check("after a crash of the queue's server")
	other, err := h.keyed(ctx, request(key("order-1"), func(r *gatewayv1.SubmitRequest) { r.Envelope.Tenant = "other" }))
	if err != nil || other.GetDuplicate() {
		t.Errorf("another tenant's key: %v, %v", other, err)
	}
	if n := len(h.records()); n != 3 {
		t.Errorf("%d records, want 2 of the first and 1 of the other tenant", n)
	}
}

// TestG12_ConcurrentCallsOneWins calls with the same key from many sides at once, small and large.
func TestG12_ConcurrentCallsOneWins(t *testing.T) {
	h := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := h.keyed(ctx, request(key("warm"))); err != nil { // the view has caught up behind this
		t.Fatal(err)
	}
	for name, size := range map[string]int{"inline": 0, "in the body store": 80 << 10} {
		t.Run(name, func(t *testing.T) {
			const callers, keys = 8, 12
			answers := make([][]*gatewayv1.Accepted, keys)
			var mu sync.Mutex
			var wg sync.WaitGroup
			for k := range keys {
				for range callers {
					wg.Go(func() {
						a, err := h.keyed(ctx, request(key(fmt.Sprint(name, k)), body(text(size+k))))
						if err != nil {
							t.Errorf("key %d: %v", k, err)
							return
						}
						mu.Lock()
						defer mu.Unlock()
						answers[k] = append(answers[k], a)
					})
				}
			}
			wg.Wait()
			for k, list := range answers {
				winners := 0
				for _, a := range list {
					if a.GetMessageId() != list[0].GetMessageId() {
						t.Errorf("key %d: two messages", k)
					}
					if !a.GetDuplicate() {
						winners++
					}
				}
				if winners != 1 {
					t.Errorf("key %d: %d of %d calls won", k, winners, len(list))
				}
			}
		})
	}
	ids := map[string]bool{}
	for _, r := range h.records() {
		if ids[r.GetMessageId()] {
			t.Errorf("message %s twice", r.GetMessageId())
		}
		ids[r.GetMessageId()] = true
		if r.GetContent().GetBodyRef() != "" && len(r.content) == 0 {
			t.Errorf("the content of %s was deleted with a duplicate's", r.GetMessageId())
		}
	}
	if len(ids) != 25 {
		t.Errorf("%d messages, want 25", len(ids))
	}
	if n := len(h.bodies()); n != 12 {
		t.Errorf("%d contents in the body store, want those of the 12 winners", n)
	}
}

// TestG12_KeyedSubmitWaitsForTheView checks that a gateway that cannot tell which keys were used says so.
func TestG12_KeyedSubmitWaitsForTheView(t *testing.T) {
	h := start(t, func(h *harness) { h.cfg.ViewDir = "/proc/no/such/folder" })
	_, err := h.mail.Submit(t.Context(), request(key("k")))
	e := rpc.FromError(err)
	if e == nil || e.Code != codes.Unavailable || e.Reason != "KEYS_BEHIND" || e.RetryAfter <= 0 {
		t.Errorf("keyed: %v", err)
	}
	h.submit(request()) // without a key acceptance does not depend on the view
	_, err = h.mail.GetMessage(t.Context(), &gatewayv1.GetMessageRequest{MessageId: "01HX0000000000000000000000"})
	if e := rpc.FromError(err); e == nil || e.Code != codes.Unavailable || e.Reason != "VIEW_UNAVAILABLE" {
		t.Errorf("question: %v", err)
	}
}
