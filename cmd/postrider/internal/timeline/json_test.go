// SPDX-License-Identifier: Apache-2.0

package timeline_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/cmd/postrider/internal/timeline"
	"github.com/postrider/postrider/cmd/postrider/internal/tree"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// deferredThenDelivered is a message whose first attempt ended with a 450 and whose second was taken over TLS.
func deferredThenDelivered() *gatewayv1.Message {
	busy := &eventv1.Reply{Code: 450, Enhanced: &eventv1.EnhancedCode{Class: 4, Subject: 2, Detail: 1}, Lines: []string{"busy", "try later"}}
	return &gatewayv1.Message{
		MessageId: "01JB", TraceId: "4bf9", AcceptedAt: timestamppb.New(noon), State: gatewayv1.MessageState_MESSAGE_STATE_DONE,
		Recipients: []*gatewayv1.RecipientStatus{{
			Address: "b@recipient.example", State: eventv1.RecipientState_RECIPIENT_STATE_DELIVERED, Status: "2.0.0", Reason: "delivered",
			Reply: &eventv1.Reply{Code: 250, Lines: []string{"taken"}}, PossibleDuplicate: true,
			Attempts: []*eventv1.Attempt{
				{
					Number: 1, StartedAt: timestamppb.New(noon), Duration: durationpb.New(1500 * time.Microsecond),
					Hosts: []*eventv1.HostTry{{
						Host: "mx1.recipient.example", Address: "192.0.2.1:25", Preference: 10, Stage: eventv1.Stage_STAGE_RCPT,
						Failure: &eventv1.Failure{Reason: "remote_reply", Reply: busy}, LeftFor: "next_host",
					}},
				},
				{
					Number: 2, StartedAt: timestamppb.New(noon.Add(time.Minute)), Duration: durationpb.New(time.Second),
					Hosts: []*eventv1.HostTry{{
						Host: "mx1.recipient.example", Address: "192.0.2.1:25", Preference: 10, Stage: eventv1.Stage_STAGE_DOT,
						Tls: &eventv1.TLSResult{Version: "TLS 1.3", Policy: "dane", Verified: true}, Duration: durationpb.New(time.Second),
					}},
				},
			},
		}},
	}
}

func TestQ02_StatusJSONIsTheContract(t *testing.T) {
	const want = `{"message_id":"01JB","trace_id":"4bf9","accepted_at":"2026-11-02T12:00:00Z","state":"done","recipients":[` +
		`{"address":"b@recipient.example","state":"delivered","status":"2.0.0","reason":"delivered",` +
		`"reply":{"code":250,"enhanced":"","text":"taken"},"next_attempt_at":null,"possible_duplicate":true,"attempts":[` +
		`{"number":1,"started_at":"2026-11-02T12:00:00Z","duration_ms":1.5,"outcome":"deferred","hosts":[` +
		`{"host":"mx1.recipient.example","address":"192.0.2.1:25","preference":10,"stage":"rcpt",` +
		`"reply":{"code":450,"enhanced":"4.2.1","text":"busy\ntry later"},"reason":"remote_reply","tls":null,"left_for":"next_host","duration_ms":0}]},` +
		`{"number":2,"started_at":"2026-11-02T12:01:00Z","duration_ms":1000,"outcome":"delivered","hosts":[` +
		`{"host":"mx1.recipient.example","address":"192.0.2.1:25","preference":10,"stage":"dot","reply":null,"reason":"",` +
		`"tls":{"version":"TLS 1.3","policy":"dane","verified":true},"left_for":"","duration_ms":1000}]}]}]}`
	got, err := json.Marshal(timeline.StatusOf(deferredThenDelivered()))
	if err != nil || string(got) != want {
		t.Errorf("got %s (%v)\nwant %s", got, err, want)
	}
}

// TestStatusJSONOfNothing: lists are lists and times are null, whatever is not known yet.
func TestStatusJSONOfNothing(t *testing.T) {
	next := noon.Add(time.Hour)
	got, err := json.Marshal(timeline.StatusOf(&gatewayv1.Message{MessageId: "01JB"}))
	const empty = `{"message_id":"01JB","trace_id":"","accepted_at":null,"state":"unspecified","recipients":[]}`
	if err != nil || string(got) != empty {
		t.Errorf("got %s (%v)\nwant %s", got, err, empty)
	}
	waiting := timeline.StatusOf(&gatewayv1.Message{Recipients: []*gatewayv1.RecipientStatus{{
		State: eventv1.RecipientState_RECIPIENT_STATE_DEFERRED, NextAttemptAt: timestamppb.New(next),
	}}})
	got, err = json.Marshal(waiting.Recipients[0])
	const want = `{"address":"","state":"deferred","status":"","reason":"","reply":null,"next_attempt_at":"2026-11-02T13:00:00Z",` +
		`"possible_duplicate":false,"attempts":[]}`
	if err != nil || string(got) != want {
		t.Errorf("got %s (%v)\nwant %s", got, err, want)
	}
}

func TestTreeTellsEachHostAndWhyItWasLeft(t *testing.T) {
	var out strings.Builder
	if err := tree.Write(&out, timeline.Tree(deferredThenDelivered())); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"message 01JB  done", "trace 4bf9", "b@recipient.example  delivered  2.0.0", "(may have been delivered before)", "attempt 1", "took 1.5 ms",
		"mx1.recipient.example [192.0.2.1:25] preference 10  left at rcpt", "remote_reply 450 4.2.1 busy try later  → next host",
		"attempt 2", "TLS 1.3 verified  took the mail in 1.00 s",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
