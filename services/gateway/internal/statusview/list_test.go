// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// listed is a view with five messages, m[0] the oldest.
func listed(t *testing.T) (v *running, ids []string) {
	t.Helper()
	q := newQueue(t)
	var mails []*eventv1.QueuedMail
	for i := range 5 {
		id := newID()
		ids = append(ids, id)
		mails = append(mails, record(func(r *eventv1.QueuedMail) {
			withID(id, start.Add(time.Duration(i)*time.Hour))(r)
			r.Tag = []string{"even", "odd"}[i%2]
			if i == 3 {
				r.Envelope.Sender, r.Tenant, r.Destination = "other@example.org", "other", "xn--bcher-kva.example"
			}
		}, 0, 1))
	}
	q.mail(mails...)
	bouncing := outcomeOf(ids[1], start.Add(time.Hour), outcome(1, settledAs(0, delivered), settledAs(1, bounced)))
	waiting := outcomeOf(ids[2], start.Add(2*time.Hour), outcome(1, settledAs(0, delivered), settledAs(1, deferred)))
	bouncing.Tag, waiting.Tag = "odd", "even"
	q.outcomes(bouncing, waiting)
	v = q.open(q.options(filepath.Join(t.TempDir(), "view.db")))
	v.await(t)
	return v, ids
}

func TestListFilters(t *testing.T) {
	v, ids := listed(t)
	cases := []struct {
		name string
		in   *gatewayv1.ListMessagesRequest
		want []int
	}{
		{"all, the newest first", &gatewayv1.ListMessagesRequest{}, []int{4, 3, 2, 1, 0}},
		{"tag", &gatewayv1.ListMessagesRequest{Tag: "odd"}, []int{3, 1}},
		{"sender", &gatewayv1.ListMessagesRequest{Sender: "other@example.org"}, []int{3}},
		{"tenant", &gatewayv1.ListMessagesRequest{Tenant: "other"}, []int{3}},
		{"destination", &gatewayv1.ListMessagesRequest{Destination: "BÜCHER.example"}, []int{3}},
		{"bounced", &gatewayv1.ListMessagesRequest{States: []eventv1.RecipientState{bounced}}, []int{1}},
		{"queued or deferred", &gatewayv1.ListMessagesRequest{States: []eventv1.RecipientState{queued, deferred}}, []int{4, 3, 2, 0}},
		{"deferred to the destination", &gatewayv1.ListMessagesRequest{States: []eventv1.RecipientState{deferred}, Destination: "example.com"}, []int{2}},
		{"deferred to another", &gatewayv1.ListMessagesRequest{States: []eventv1.RecipientState{deferred}, Destination: "bücher.example"}, nil},
		{"time", &gatewayv1.ListMessagesRequest{AcceptedAfter: timestamppb.New(start.Add(time.Hour)), AcceptedBefore: timestamppb.New(start.Add(3 * time.Hour))}, []int{2, 1}},
		{"nothing fits", &gatewayv1.ListMessagesRequest{Tag: "none"}, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			answer, err := v.List(t.Context(), tc.in)
			if err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, m := range answer.GetMessages() {
				got = append(got, slices.Index(ids, m.GetMessageId()))
				if len(m.GetRecipients()) != 2 || len(m.GetRecipients()[0].GetAttempts()) != 0 || m.GetViewLag() == nil {
					t.Errorf("message %v", m)
				}
			}
			if !slices.Equal(got, tc.want) || answer.GetNextPageToken() != "" {
				t.Errorf("got %v, token %q", got, answer.GetNextPageToken())
			}
		})
	}
}

func TestListPages(t *testing.T) {
	v, ids := listed(t)
	var got []string
	in := &gatewayv1.ListMessagesRequest{PageSize: 2}
	for pages := 1; ; pages++ {
		answer, err := v.List(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range answer.GetMessages() {
			got = append(got, m.GetMessageId())
		}
		if in.PageToken = answer.GetNextPageToken(); in.GetPageToken() == "" {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	slices.Reverse(got)
	if !slices.Equal(got, ids) {
		t.Errorf("got %v, want %v", got, ids)
	}
}

func TestListRefusals(t *testing.T) {
	v, _ := listed(t)
	first, err := v.List(t.Context(), &gatewayv1.ListMessagesRequest{PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	for field, in := range map[string]*gatewayv1.ListMessagesRequest{
		"page_size":  {PageSize: -1},
		"page_token": {PageToken: "x"},
		"states":     {States: []eventv1.RecipientState{77}},
	} {
		_, err := v.List(t.Context(), in)
		if e := rpc.FromError(err); e == nil || e.Code != codes.InvalidArgument || e.Fields[0].Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	_, err = v.List(t.Context(), &gatewayv1.ListMessagesRequest{PageToken: first.GetNextPageToken(), Tag: "odd"})
	if e := rpc.FromError(err); e == nil || e.Fields[0].Field != "page_token" {
		t.Errorf("the token of another filter: %v", err)
	}
}
