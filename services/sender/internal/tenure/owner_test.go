// SPDX-License-Identifier: Apache-2.0

package tenure_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

func TestQ07_NothingStartsWhileTheLeaseIsNotConfirmed(t *testing.T) {
	w := newWorld(t, 1)
	lease := &fakeLease{confirmed: true}
	attempts := newSeen()
	s := w.start("a", 0, attempts.counting, func(o *tenure.Options) { o.Lease = lease })
	w.submit(0, mail("m1", "ok@example.test"))
	w.finals(1)
	lease.set(false)
	w.submit(0, mail("m2", "ok@example.test"))
	w.eventually("m2 is read", func() bool { n, _ := s.tenure.Held(); return n == 1 })
	w.eventually("m2 was handed out and taken back", func() bool { return s.lanes.Waiting()+s.lanes.Running() == 0 })
	if n, _ := attempts.of("m2"); n != 0 {
		t.Error("attempted without a confirmed lease")
	}
	lease.set(true)
	w.finals(2)
}

func TestQ08_WhatIsSettledUnconfirmedIsMarked(t *testing.T) {
	w := newWorld(t, 1)
	lease := &fakeLease{confirmed: true}
	w.start("a", 0, func(_ context.Context, r *tenure.Record) *eventv1.Outcome {
		if !r.MayStart() {
			t.Error("the first transaction may not start")
		}
		lease.set(false)
		if r.MayStart() {
			t.Error("a further transaction may start")
		}
		return answer(r)
	}, func(o *tenure.Options) { o.Lease = lease })
	w.submit(0, mail("m1", "ok@example.test"))
	if all := w.finals(1); !all[0].GetResults()[0].GetPossibleDuplicate() {
		t.Error("not marked")
	}
}

func TestStopLetsAttemptsThatRunEnd(t *testing.T) {
	w := newWorld(t, 1)
	started, finish := make(chan struct{}), make(chan struct{})
	s := w.start("a", 0, func(_ context.Context, r *tenure.Record) *eventv1.Outcome {
		close(started)
		<-finish
		return answer(r)
	})
	w.submit(0, mail("m1", "defer-1@example.test"))
	<-started
	time.AfterFunc(50*time.Millisecond, func() { close(finish) })
	if !s.stop() {
		t.Error("not clean")
	}
	if all, copies := w.outcomes(), w.copies(bus.RetryStream(0)); len(all) != 1 || len(copies) != 1 {
		t.Errorf("%d outcomes, %d moves", len(all), len(copies))
	}
	c, err := bus.LastCheckpoint(w.ctx, w.js, 0)
	w.must(err)
	if !c.GetClean() {
		t.Errorf("last checkpoint %v", c)
	}
}

// An idle partition must not hold back what another one has settled.
func TestFloorsOfAnIdlePartitionMove(t *testing.T) {
	w := newWorld(t, 2)
	a := w.start("a", 0, deliver)
	w.start("b", 1, deliver)
	for i := range 30 {
		w.submit(0, mail(fmt.Sprintf("m%d", i), "ok@example.test", "defer-1@example.test"))
	}
	w.finals(60)
	for _, stream := range []string{bus.StreamMail, bus.RetryStream(0)} {
		last, err := bus.LastSequences(w.ctx, w.js, stream)
		w.must(err)
		w.eventually("floors of "+stream, func() bool {
			return w.floor(0, stream) == last.Sequence+1 && w.floor(1, stream) == last.Sequence+1
		})
	}
	// When nothing moves any more, nothing is stored, though both look around.
	stored := func() uint64 {
		last, err := bus.LastSequences(w.ctx, w.js, bus.StreamOutcome)
		w.must(err)
		return last.Sequence
	}
	w.eventually("quiet", func() bool {
		before, asked := stored(), a.conn.Stats().OutMsgs
		w.eventually("some rounds of looking around", func() bool { return a.conn.Stats().OutMsgs > asked+100 })
		return stored() == before
	})
}

func TestWindowBoundsWhatIsHeld(t *testing.T) {
	w := newWorld(t, 1)
	attempts := newSeen()
	finish := make(chan struct{})
	most := 0
	s := w.start("a", 0, func(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
		attempts.note(r)
		select {
		case <-finish:
		case <-ctx.Done():
			return nil
		}
		return answer(r)
	}, window(40))
	for i := range 30 {
		w.submit(0, mail(fmt.Sprintf("a%d", i), "ok@example.test"), mail(fmt.Sprintf("b%d", i), "ok@example.test"),
			mail(fmt.Sprintf("c%d", i), "ok@example.test"))
		n, _ := s.tenure.Held()
		most = max(most, n)
	}
	w.eventually("attempts", func() bool { return attempts.total() == 20 })
	n, bytes := s.tenure.Held()
	if most = max(most, n); most > 40 || n < 20 || bytes == 0 {
		t.Errorf("%d records held at most, %d now, %d bytes; the window is 40", most, n, bytes)
	}
	if age := s.tenure.Oldest(); age <= 0 || age > time.Minute {
		t.Errorf("the oldest was read %s ago", age)
	}
	close(finish)
	w.finals(90)
}

func TestAttemptThatPanicsDefersItsRecord(t *testing.T) {
	w := newWorld(t, 1)
	s := w.start("a", 0, func(_ context.Context, r *tenure.Record) *eventv1.Outcome {
		if r.Mail.GetMessageId() == "bad" {
			panic("remote data")
		}
		return answer(r)
	})
	w.submit(0, mail("bad", "ok@example.test"), mail("good", "ok@example.test"))
	w.finals(1)
	w.eventually("the deferral", func() bool { return len(w.copies(bus.RetryStream(10))) == 1 })
	if c := w.copies(bus.RetryStream(10))[0]; !c.GetPossibleDuplicate() || c.GetEnvelope().GetRecipients()[0].GetLastFailure().GetReason() != "internal" {
		t.Errorf("%v", c)
	}
	if log := s.log(); log == "" {
		t.Error("the fault was not logged")
	}
}

// A dead destination fills the window; a good one behind it is not kept out, and nothing of the dead one is lost or
// counted as an attempt.
func TestQ12_SickDestinationDoesNotKeepOthersOut(t *testing.T) {
	w := newWorld(t, 1)
	dead := func(i int) *eventv1.QueuedMail {
		m := mail(fmt.Sprintf("dead%d", i), "ok@dead.test")
		m.Destination = "dead.test"
		return m
	}
	attempts := newSeen()
	w.start("a", 0, func(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
		attempts.note(r)
		if r.Mail.GetDestination() == "dead.test" {
			<-ctx.Done()
			return nil
		}
		return answer(r)
	}, window(400))
	for i := range 30 {
		var batch []*eventv1.QueuedMail
		for k := range 40 {
			batch = append(batch, dead(40*i+k))
		}
		w.submit(0, batch...)
	}
	w.submit(0, mail("good", "ok@example.test"))
	w.finals(1)
	var spilled []*eventv1.QueuedMail
	for _, m := range bus.RetryMinutes() {
		spilled = append(spilled, w.copies(bus.RetryStream(m))...)
	}
	ids := make(map[string]bool)
	for _, m := range spilled {
		if m.GetMovedFor() != "spill" || m.GetAttempt() != 0 || m.GetHop() != 1 || m.GetPause() != nil {
			t.Fatalf("%v", m)
		}
		ids[m.GetMessageId()] = true
	}
	if len(ids) != len(spilled) || len(ids) < 800 || len(ids) > 1180 {
		t.Errorf("%d spilled, %d of them different; 1200 were submitted", len(spilled), len(ids))
	}
	if n, _ := attempts.of("dead0"); n != 1 {
		t.Errorf("the first of the dead destination was attempted %d times", n)
	}
}

// What is settled is purged, and the owner goes on where the purge has emptied its subjects: there the fence refuses it
// until it has confirmed its lease.
func TestSettledMailIsPurgedAndTheOwnerGoesOn(t *testing.T) {
	w := newWorld(t, 2)
	purger := bus.NewPurger(w.js, 2)
	w.start("a", 0, deliver)
	w.submit(0, mail("m0", "ok@example.test", "defer-1@example.test"))
	w.finals(2)
	w.must(purger.Purge(w.ctx, 0))
	if last, err := bus.LastSequences(w.ctx, w.js, bus.StreamMail); err != nil || last.First > 1 {
		t.Errorf("a partition without an owner does not hold the purge: first is %d, %v", last.First, err)
	}
	w.start("b", 1, deliver)
	finals := 2
	for round := range 3 {
		for i := range 5 {
			w.submit(i%2, mail(fmt.Sprintf("r%d-%d", round, i), "ok@example.test", "defer-1@example.test"))
			finals += 2
		}
		w.finals(finals)
		for _, stream := range []string{bus.StreamMail, bus.RetryStream(0), bus.RetryStream(5)} {
			w.eventually(stream+" is empty", func() bool {
				w.must(purger.Purge(w.ctx, 0))
				last, err := bus.LastSequences(w.ctx, w.js, stream)
				w.must(err)
				return len(last.Subjects) == 0
			})
		}
	}
}
