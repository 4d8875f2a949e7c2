// SPDX-License-Identifier: Apache-2.0

package tenure_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

// workFor lets records be in work for so long.
func workFor(d time.Duration) change {
	return func(o *tenure.Options) { o.Limits.WorkFor, o.Limits.WorkForAtLeast = d, d }
}

// soon lets the copies of a stream of a minute come due after the given time: the server's clock seems to run ahead.
func soon(left time.Duration) change {
	return func(o *tenure.Options) {
		o.Clock = due.NewClock(func(ctx context.Context) (time.Time, error) {
			last, err := bus.LastSequences(ctx, o.JS, bus.RetryStream(0))
			return last.Time.Add(time.Minute - left), err
		}, time.Second)
	}
}

// hanging is an attempt that does not end before it is told to.
type hanging struct {
	seen *seen
	end  chan struct{}
}

func newHanging() *hanging { return &hanging{seen: newSeen(), end: make(chan struct{})} }

func (h *hanging) attempt(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
	h.seen.note(r)
	select {
	case <-h.end:
		return answer(r)
	case <-ctx.Done():
		return nil
	}
}

func (w *world) carried() (list []*eventv1.QueuedMail) {
	for _, m := range w.copies(bus.RetryStream(1)) {
		if m.GetMovedFor() == "carry" {
			list = append(list, m)
		}
	}
	return list
}

// A record in an attempt does not hold the floor back: it lives on in a copy, which is carried again while the attempt
// goes on, and skipped once it has an outcome.
func TestARecordInALongAttemptIsCarriedForward(t *testing.T) {
	w := newWorld(t, 1)
	h := newHanging()
	s := w.start("a", 0, h.attempt, workFor(200*time.Millisecond), soon(time.Second))
	w.submit(0, mail("m1", "ok@example.test"))
	w.eventually("the copy", func() bool { return len(w.carried()) == 1 })
	w.eventually("the floor passes it", func() bool { return w.floor(0, bus.StreamMail) == 2 })
	if m := w.carried()[0]; !m.GetPossibleDuplicate() || m.GetHop() != 1 || m.GetAttempt() != 0 || m.GetSource().GetStream() != bus.StreamMail {
		t.Errorf("%v", m)
	}
	w.eventually("it is carried again", func() bool { return len(w.carried()) >= 2 })
	if m := w.carried()[1]; m.GetHop() != 2 || m.GetSource().GetStream() != bus.RetryStream(1) {
		t.Errorf("%v", m)
	}
	close(h.end)
	o := w.finals(1)[0]
	if o.GetSource().GetStream() != bus.RetryStream(1) || o.GetResults()[0].GetPossibleDuplicate() || o.GetHop() < 2 {
		t.Errorf("%v", o)
	}
	last, err := bus.LastSequences(w.ctx, w.js, bus.RetryStream(1))
	w.must(err)
	w.eventually("the last copy is read and skipped", func() bool { return w.floor(0, bus.RetryStream(1)) == last.Sequence+1 })
	if n := h.seen.total(); n != 1 || len(w.outcomes()) != 1 {
		t.Errorf("%d attempts, %d outcomes", n, len(w.outcomes()))
	}
	if !s.stop() {
		t.Error("not clean")
	}
}

// What a carried record's attempt leaves is carried on from where it lies, once.
func TestQ02_DeferralAfterACarryIsMovedOnOnce(t *testing.T) {
	w := newWorld(t, 1)
	h := newHanging()
	s := w.start("a", 0, h.attempt, workFor(200*time.Millisecond))
	w.submit(0, mail("m1", "ok@example.test", "defer-1@example.test"))
	w.eventually("the copy", func() bool { return len(w.carried()) == 1 })
	close(h.end)
	all := w.finals(2)
	if len(all) != 2 || all[0].GetHop() != 1 || all[1].GetHop() != 2 {
		t.Errorf("%v", all)
	}
	for _, o := range all {
		for _, r := range o.GetResults() {
			if r.GetPossibleDuplicate() {
				t.Errorf("marked without need: %v", o)
			}
		}
	}
	if !s.stop() {
		t.Error("not clean")
	}
	// The next owner reads the copy when it is due, and skips it: what became of it is in OUTCOME.
	b := w.start("b", 0, h.attempt, soon(0))
	w.eventually("the copy is passed", func() bool { return w.floor(0, bus.RetryStream(1)) >= 3 })
	if n := h.seen.total(); n != 2 {
		t.Errorf("%d attempts", n)
	}
	b.stop()
}

// Q08: after a crash the copy is attempted, and marked, wherever the first attempt stood.
func TestQ08_ACarriedRecordIsAttemptedMarkedAfterACrash(t *testing.T) {
	w := newWorld(t, 1)
	h := newHanging()
	a := w.start("a", 0, h.attempt, workFor(200*time.Millisecond))
	w.submit(0, mail("m1", "ok@example.test"))
	w.eventually("the copy", func() bool { return len(w.carried()) == 1 && w.floor(0, bus.StreamMail) == 2 })
	a.kill()
	w.start("b", 0, deliver, soon(time.Second))
	o := w.finals(1)[0]
	if !o.GetResults()[0].GetPossibleDuplicate() || o.GetSource().GetStream() != bus.RetryStream(1) {
		t.Errorf("%v", o)
	}
}

// What waits in its lane for long is spilled, and what is attempted carried: the stragglers of many segments come to lie
// together, and all floors pass.
func TestStragglersOfManySegmentsAreRepacked(t *testing.T) {
	w := newWorld(t, 1)
	h := newHanging()
	w.start("a", 0, func(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
		if r.Mail.GetDestination() == "slow.test" {
			return h.attempt(ctx, r)
		}
		return answer(r)
	}, workFor(400*time.Millisecond))
	for i := range 40 {
		slow := mail(fmt.Sprintf("slow%d", i), "ok@slow.test")
		slow.Destination = "slow.test"
		w.submit(0, mail(fmt.Sprintf("m%d", i), "ok@example.test"), slow)
	}
	w.finals(40)
	w.eventually("all floors pass", func() bool { return w.floor(0, bus.StreamMail) == 41 })
	copies := w.copies(bus.RetryStream(1))
	why := make(map[string]int)
	for _, m := range copies {
		why[m.GetMovedFor()]++
	}
	if len(copies) != 40 || why["carry"] != 20 || why["spill"] != 20 {
		t.Errorf("moved on: %v", why)
	}
	last, err := bus.LastSequences(w.ctx, w.js, bus.RetryStream(1))
	w.must(err)
	if segments := last.Sequence - 1; segments > 20 {
		t.Errorf("40 stragglers lie in %d segments", segments)
	}
	close(h.end)
	w.finals(60)
}
