// SPDX-License-Identifier: Apache-2.0

package events

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.LeakOptions()...) }

func newQueue(t *testing.T) jetstream.JetStream {
	t.Helper()
	js := bustest.Start(t).JetStream()
	if err := bus.Ensure(t.Context(), js, bus.Layout{Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	return js
}

// put appends frames as one segment and returns its sequence.
func put(t *testing.T, js jetstream.JetStream, subject string, frames ...bus.Frame) uint64 {
	t.Helper()
	a := bus.NewAppender(js, bus.AppenderOptions{Subjects: []string{subject}})
	defer func() { _ = a.Close(context.Background()) }()
	at, err := a.Append(t.Context(), frames)
	if err != nil {
		t.Fatal(err)
	}
	return at.Sequence
}

func mail(t *testing.T, id string, change ...func(*eventv1.QueuedMail)) bus.Frame {
	t.Helper()
	r := &eventv1.QueuedMail{
		MessageId: id, Part: 1, Parts: 1, Destination: "example.com",
		Envelope: &eventv1.Envelope{Recipients: []*eventv1.Recipient{{Address: "b@example.com"}}},
	}
	for _, c := range change {
		c(r)
	}
	f, err := bus.FrameMail(r, []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func outcome(t *testing.T, id string, state eventv1.RecipientState) bus.Frame {
	t.Helper()
	f, err := bus.FrameOutcome(&eventv1.Outcome{
		MessageId: id, Part: 1, Parts: 1, Attempt: &eventv1.Attempt{Number: 1},
		Results: []*eventv1.RecipientResult{{Recipient: &eventv1.Recipient{Address: "b@example.com"}, State: state}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// watch collects n events behind a cursor.
func watch(t *testing.T, w *Watcher, cursor, messageID string, n int) []*gatewayv1.WatchEventsResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var list []*gatewayv1.WatchEventsResponse
	enough := errors.New("enough")
	err := w.Watch(ctx, &gatewayv1.WatchEventsRequest{Cursor: cursor, MessageId: messageID}, func(e *gatewayv1.WatchEventsResponse) error {
		list = append(list, e)
		if len(list) == n {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatalf("%d events, then %v", len(list), err)
	}
	return list
}

func words(list []*gatewayv1.WatchEventsResponse) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = e.GetMessageId() + " " + e.GetKind()
	}
	slices.Sort(out)
	return out
}

// life puts the lives of two messages into the streams.
func life(t *testing.T, js jetstream.JetStream) []string {
	t.Helper()
	put(t, js, bus.MailSubject(0), mail(t, "A"), mail(t, "B"))
	put(t, js, bus.OutcomeSubject(bus.Quiet, 0), outcome(t, "A", eventv1.RecipientState_RECIPIENT_STATE_DELIVERED),
		outcome(t, "B", eventv1.RecipientState_RECIPIENT_STATE_DEFERRED))
	put(t, js, bus.RetrySubject(5, 0), mail(t, "B", func(r *eventv1.QueuedMail) { r.MovedFor, r.Attempt, r.Hop = "retry", 1, 1 }))
	put(t, js, bus.OutcomeSubject(bus.Notice, 0), outcome(t, "B", eventv1.RecipientState_RECIPIENT_STATE_BOUNCED))
	return []string{"A accepted", "A settled", "B accepted", "B attempted", "B moved", "B settled"}
}

func TestEventsOfAMessagesLife(t *testing.T) {
	js := newQueue(t)
	want := life(t, js)
	w := New(js, nil)
	list := watch(t, w, newCursor().String(), "", len(want))
	if got := words(list); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	for _, e := range list {
		if len(e.GetRecipients()) != 1 || e.GetRecipients()[0].GetAddress() != "b@example.com" || e.GetTime() == nil {
			t.Errorf("event %v", e)
		}
		if e.GetKind() == "moved" && e.GetRecipients()[0].GetNextAttemptAt().AsTime().Sub(e.GetTime().AsTime()) != 5*time.Minute {
			t.Errorf("moved event does not say when it is due: %v", e)
		}
	}
	if got := words(watch(t, w, newCursor().String(), "B", 4)); !slices.Equal(got, want[2:]) {
		t.Errorf("of one message: %v", got)
	}
}

// TestEveryCursorGoesOnExactly resumes behind each event in turn: together with what was seen before nothing is missing
// and nothing comes twice.
func TestEveryCursorGoesOnExactly(t *testing.T) {
	js := newQueue(t)
	want := life(t, js)
	w := New(js, nil)
	list := watch(t, w, newCursor().String(), "", len(want))
	for seen := 1; seen < len(list); seen++ {
		rest := watch(t, New(js, nil), list[seen-1].GetCursor(), "", len(want)-seen)
		if got := words(append(slices.Clone(list[:seen]), rest...)); !slices.Equal(got, want) {
			t.Errorf("resumed behind event %d: %v", seen, got)
		}
		// A second resumption, in the middle of the first one's events.
		if len(rest) > 1 {
			last := watch(t, w, rest[0].GetCursor(), "", len(rest)-1)
			if got := words(slices.Concat(list[:seen], rest[:1], last)); !slices.Equal(got, want) {
				t.Errorf("resumed twice behind event %d: %v", seen, got)
			}
		}
	}
}

func TestWithoutCursorFromNowOn(t *testing.T) {
	js := newQueue(t)
	life(t, js)
	w := New(js, nil)
	at, err := w.begin(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	put(t, js, bus.MailSubject(0), mail(t, "C"))
	if got := words(watch(t, w, at.String(), "", 1)); !slices.Equal(got, []string{"C accepted"}) {
		t.Errorf("got %v", got)
	}
}

func TestCursorTooOldNamesTheOldestValidOne(t *testing.T) {
	js := newQueue(t)
	life(t, js)
	w := New(js, nil)
	s, err := js.Stream(t.Context(), bus.StreamOutcome)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(2)); err != nil {
		t.Fatal(err)
	}
	err = w.Watch(t.Context(), &gatewayv1.WatchEventsRequest{Cursor: newCursor().String()}, nil)
	e := rpc.FromError(err)
	if e == nil || e.Code != codes.OutOfRange || e.Reason != ReasonCursorOld || len(e.Fields) != 1 {
		t.Fatalf("err = %v", err)
	}
	oldest := strings.TrimPrefix(e.Fields[0].Description, "the oldest valid cursor is ")
	if got := words(watch(t, w, oldest, "", 4)); !slices.Equal(got, []string{"A accepted", "B accepted", "B moved", "B settled"}) {
		t.Errorf("from the oldest valid cursor: %v", got)
	}
}

func TestBadCursors(t *testing.T) {
	js := newQueue(t)
	w := New(js, nil)
	beyond := newCursor()
	beyond.last[bus.StreamMail] = 99
	for name, text := range map[string]string{
		"no base64": "!", "other version": "Ag", "cut": "AQA", "unknown stream": "AQQB", "beyond the end": beyond.String(), "long": strings.Repeat("A", 2000),
	} {
		err := w.Watch(t.Context(), &gatewayv1.WatchEventsRequest{Cursor: text}, nil)
		if e := rpc.FromError(err); e == nil || e.Code != codes.InvalidArgument || e.Reason != ReasonCursor {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWatchersAreBounded(t *testing.T) {
	js := newQueue(t)
	w := New(js, nil)
	for range maxWatchers {
		w.slots <- struct{}{}
	}
	err := w.Watch(t.Context(), &gatewayv1.WatchEventsRequest{}, nil)
	if e := rpc.FromError(err); e == nil || e.Code != codes.ResourceExhausted || e.RetryAfter <= 0 {
		t.Errorf("err = %v", err)
	}
}

func FuzzCursor(f *testing.F) {
	c := newCursor()
	c.last[bus.StreamMail], c.last[bus.RetryStream(240)] = 5, 1<<40
	c.partly[bus.StreamOutcome] = begun{7, 3}
	f.Add(c.String())
	f.Add("")
	f.Add("AQMDAwM")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCursor(text)
		if err != nil {
			return
		}
		again, err := parseCursor(c.String())
		if err != nil || !maps.Equal(again.last, c.last) || !maps.Equal(again.partly, c.partly) {
			t.Fatalf("%q reads as %v, which reads as %v, %v", text, c, again, err)
		}
	})
}
