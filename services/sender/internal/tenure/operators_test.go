// SPDX-License-Identifier: Apache-2.0

package tenure_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/changes"
	"github.com/postrider/postrider/kit/config"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/retryschedule"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

const (
	cancelled = eventv1.RecipientState_RECIPIENT_STATE_CANCELLED

	hold      = eventv1.ChangeAction_CHANGE_ACTION_HOLD
	release   = eventv1.ChangeAction_CHANGE_ACTION_RELEASE
	suspend   = eventv1.ChangeAction_CHANGE_ACTION_SUSPEND
	resume    = eventv1.ChangeAction_CHANGE_ACTION_RESUME
	retryNow  = eventv1.ChangeAction_CHANGE_ACTION_RETRY_NOW
	cancelNow = eventv1.ChangeAction_CHANGE_ACTION_CANCEL
)

// operators returns the mirror of a sender, and lets it run until the sender ends.
func (w *world) operators(js jetstream.JetStream, s *sender) tenure.Operators {
	w.t.Helper()
	store, err := bus.OpenChanges(w.ctx, js)
	w.must(err)
	mirror := changes.NewMirror(store)
	ctx, cancel := context.WithCancel(w.ctx)
	s.mirror, s.changes = cancel, make(chan struct{})
	go func() {
		defer close(s.changes)
		mirror.Run(ctx, nil)
	}()
	return tenure.Operators{Mirror: mirror, Store: store, SweepEvery: time.Hour}
}

func byMessage(ids ...string) *eventv1.Change       { return &eventv1.Change{MessageIds: ids} }
func byDestination(names ...string) *eventv1.Change { return &eventv1.Change{Destinations: names} }

// change stores a change of operators.
func (w *world) change(action eventv1.ChangeAction, of *eventv1.Change) *eventv1.Change {
	w.t.Helper()
	store, err := bus.OpenChanges(w.ctx, w.js)
	w.must(err)
	of.Id, of.Action, of.Actor, of.CreatedAt = ulid.Make().String(), action, "operator", timestamppb.Now()
	_, err = store.Add(w.ctx, of)
	w.must(err)
	return of
}

// carriedOut waits until every stream was gone through for a change.
func (w *world) carriedOut(partition int, c *eventv1.Change, streams ...string) *eventv1.Change {
	w.t.Helper()
	store, err := bus.OpenChanges(w.ctx, w.js)
	w.must(err)
	var progress *eventv1.Change
	w.eventually("change carried out", func() bool {
		progress, _, err = store.Progress(w.ctx, c.GetId(), partition)
		w.must(err)
		done := map[string]bool{}
		for _, p := range progress.GetProgress() {
			done[p.GetStream()] = done[p.GetStream()] || p.GetDone()
		}
		for _, s := range streams {
			if !done[s] {
				return false
			}
		}
		return true
	})
	return progress
}

// waits stores records that wait an hour.
func (w *world) waits(partition int, mails ...*eventv1.QueuedMail) {
	w.t.Helper()
	var frames []bus.Frame
	for _, m := range mails {
		m.MovedFor, m.Hop, m.Attempt = "retry", 1, 1
		f, err := bus.FrameMail(m, []byte(content))
		w.must(err)
		frames = append(frames, f)
	}
	w.publish(bus.RetrySubject(40, partition), frames)
}

func (w *world) state(id string) eventv1.RecipientState {
	state := eventv1.RecipientState_RECIPIENT_STATE_UNSPECIFIED
	for _, o := range w.outcomes() {
		if o.GetMessageId() == id {
			state = o.GetResults()[0].GetState()
		}
	}
	return state
}

func TestQ13_RetryNowReachesMailThatWaits(t *testing.T) {
	w := newWorld(t, 1)
	w.waits(0, mail("m1", "a@example.test"), mail("m2", "b@example.test"))
	w.waits(0, mail("m3", "c@example.test"))
	attempts := newSeen()
	w.start("a", 0, attempts.counting)
	c := w.change(retryNow, byMessage("m2", "m3"))
	w.finals(2)
	w.carriedOut(0, c, bus.RetryStream(40), bus.RetryStream(240))
	for id, want := range map[string]int{"m1": 0, "m2": 1, "m3": 1} {
		if n, marked := attempts.of(id); n != want || marked {
			t.Errorf("%s: %d attempts, marked %v", id, n, marked)
		}
	}
	copies := w.copies(bus.RetryStream(0))
	if len(copies) != 2 || copies[0].GetHop() != 2 || copies[0].GetMovedFor() != "scan" || copies[0].GetSource().GetStream() != "RETRY_40" {
		t.Errorf("copies: %v", copies)
	}
}

func TestQ13_CancelReachesMailThatWaits(t *testing.T) {
	w := newWorld(t, 1)
	w.waits(0, mail("m1", "a@example.test"), mail("m2", "b@example.test"))
	attempts := newSeen()
	w.start("a", 0, attempts.counting)
	of := byMessage("m2")
	of.Notify = true
	w.change(cancelNow, of)
	o := w.finals(1)[0]
	if o.GetMessageId() != "m2" || o.GetResults()[0].GetState() != cancelled || !o.GetResults()[0].GetCancelNoticeDue() || o.GetActor() != "operator" {
		t.Errorf("outcome: %v", o)
	}
	if attempts.total() != 0 {
		t.Error("cancelled mail was attempted")
	}
}

func TestQ13_SuspendedMailLiesInParkUntilResumed(t *testing.T) {
	w := newWorld(t, 1)
	w.change(suspend, byDestination("example.test"))
	other := mail("m3", "c@other.test")
	other.Destination = "other.test"
	w.submit(0, mail("m1", "a@example.test"), mail("m2", "b@example.test"), other)
	attempts := newSeen()
	w.start("a", 0, attempts.counting)
	w.finals(1)
	w.eventually("both parked", func() bool { return len(w.copies(bus.StreamPark)) == 2 })
	if n := attempts.total(); n != 1 {
		t.Fatalf("%d attempts", n)
	}
	c := w.change(resume, byDestination("example.test"))
	w.finals(3)
	w.carriedOut(0, c, bus.StreamPark)
	if n := len(w.copies(bus.StreamPark)); n != 0 {
		t.Errorf("%d records are left in PARK", n)
	}
	for _, id := range []string{"m1", "m2", "m3"} {
		if n, marked := attempts.of(id); n != 1 || marked {
			t.Errorf("%s: %d attempts, marked %v", id, n, marked)
		}
	}
}

func TestQ13_HeldMessagesAreReleasedOneByOne(t *testing.T) {
	w := newWorld(t, 1)
	w.change(hold, byMessage("m1", "m2"))
	w.submit(0, mail("m1", "a@example.test"), mail("m2", "b@example.test"), mail("m3", "c@example.test"))
	attempts := newSeen()
	w.start("a", 0, attempts.counting)
	w.finals(1)
	w.eventually("both parked", func() bool { return len(w.copies(bus.StreamPark)) == 2 })
	w.change(release, byMessage("m1"))
	w.finals(2)
	w.eventually("m2 is back in PARK", func() bool {
		parked := w.copies(bus.StreamPark)
		return len(parked) == 1 && parked[0].GetMessageId() == "m2"
	})
	if n, _ := attempts.of("m2"); n != 0 {
		t.Error("m2 is held and was attempted")
	}
	w.change(cancelNow, byMessage("m2"))
	w.finals(3)
	if s := w.state("m2"); s != cancelled {
		t.Errorf("m2 is %s", s)
	}
	w.eventually("PARK is empty", func() bool { return len(w.copies(bus.StreamPark)) == 0 })
}

// What waits in a lane is reached at once.
func TestQ13_ChangesReachMailInLanes(t *testing.T) {
	w := newWorld(t, 1)
	going, out := make(chan struct{}, 100), make(chan struct{})
	attempts := newSeen()
	s := w.start("a", 0, func(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
		going <- struct{}{}
		<-out
		return attempts.counting(ctx, r)
	})
	var mails []*eventv1.QueuedMail
	for range 30 {
		mails = append(mails, mail(ulid.Make().String(), "a@example.test"))
	}
	w.submit(0, mails...)
	for range 20 {
		<-going
	}
	w.eventually("ten wait", func() bool { return s.lanes.Waiting() == 10 })
	w.change(suspend, byDestination("example.test"))
	w.eventually("ten are parked", func() bool { return len(w.copies(bus.StreamPark)) == 10 })
	close(out)
	w.finals(20)
	w.change(resume, byDestination("*"))
	w.finals(30)
	if attempts.total() != 30 {
		t.Errorf("%d attempts", attempts.total())
	}
}

// queue.md, section 8: the copies are stored and the progress is not.
func TestQ09_ScanCopyStoredProgressNot(t *testing.T) {
	w := newWorld(t, 1)
	w.waits(0, mail("m1", "a@example.test"), mail("m2", "b@example.test"), mail("m3", "c@example.test"))
	last, err := bus.LastSequences(w.ctx, w.js, bus.RetryStream(40))
	w.must(err)
	c := w.change(retryNow, byMessage("m1", "m2"))
	// The former owner has copied the first two.
	w.former(0, nil, 1)
	var frames []bus.Frame
	for i, id := range []string{"m1", "m2"} {
		m := mail(id, "x@example.test")
		m.Hop, m.Source = 2, ledger.Place{Stream: bus.RetryStream(40), Sequence: last.Sequence, Index: i}.Source()
		f, err := bus.FrameMail(m, []byte(content))
		w.must(err)
		frames = append(frames, f)
	}
	w.publish(bus.RetrySubject(0, 0), frames)
	attempts := newSeen()
	w.start("a", 0, attempts.counting)
	w.finals(2)
	w.carriedOut(0, c, bus.RetryStream(40))
	if n := len(w.copies(bus.RetryStream(0))); n != 2 {
		t.Errorf("%d copies", n)
	}
	if attempts.total() != 2 {
		t.Errorf("%d attempts", attempts.total())
	}
}

// The sweep lets expire what is set aside, and tells of its delay, once.
func TestQ03_Q04_SweepOfPark(t *testing.T) {
	w := newWorld(t, 1)
	w.change(suspend, byDestination("example.test"))
	w.submit(0, mail("old", "a@example.test"), mail("older", "b@example.test"))
	schedule := retryschedule.Default()
	schedule.DelayNoticeAfter, schedule.ExpireAfter = config.Duration(300*time.Millisecond), config.Duration(1500*time.Millisecond)
	attempts := newSeen()
	w.start("a", 0, attempts.counting, func(o *tenure.Options) {
		o.Retry, o.Operators.SweepEvery = schedule, 50*time.Millisecond
	})
	w.finals(2)
	told, expiries := map[string]int{}, map[string]int{}
	for _, o := range w.outcomes() {
		r := o.GetResults()[0]
		if r.GetDelayNoticeDue() {
			told[o.GetMessageId()]++
		}
		if r.GetState() == expired {
			expiries[o.GetMessageId()]++
		}
	}
	for _, id := range []string{"old", "older"} {
		if told[id] != 1 || expiries[id] != 1 {
			t.Errorf("%s was told of %d times and expired %d times", id, told[id], expiries[id])
		}
	}
	if attempts.total() != 0 {
		t.Error("suspended mail was attempted")
	}
}

// What a former owner was cut off from may be delivered: a copy of it is marked, as the original would have been.
func TestQ08_AScanMarksWhatMayHaveBeenDelivered(t *testing.T) {
	w := newWorld(t, 1)
	m := mail("m1", "a@example.test")
	w.waits(0, m)
	w.former(0, []*eventv1.QueuedMail{m}, 1)
	attempts := newSeen()
	w.start("a", 0, attempts.counting)
	w.waits(0, mail("m2", "b@example.test")) // which the former owner cannot have read
	w.change(retryNow, byDestination("example.test"))
	w.finals(2)
	for id, want := range map[string]bool{"m1": true, "m2": false} {
		if n, marked := attempts.of(id); n != 1 || marked != want {
			t.Errorf("%s: %d attempts, marked %v", id, n, marked)
		}
	}
}
