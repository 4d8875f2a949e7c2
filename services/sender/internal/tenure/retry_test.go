// SPDX-License-Identifier: Apache-2.0

package tenure_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

func TestQ02_DeferredRecipientsAreTriedAgainAndOthersAreNot(t *testing.T) {
	w := newWorld(t, 1)
	attempts := newSeen()
	s := w.start("a", 0, attempts.counting)
	w.submit(0, mail("m1", "ok@example.test", "defer-1@example.test", "bounce-1@example.test", "defer-2@example.test"))
	all := w.finals(4)
	if len(all) != 2 || len(all[0].GetResults()) != 4 || len(all[1].GetResults()) != 2 {
		t.Fatalf("outcomes %v", all)
	}
	if all[0].GetId() != "m1.1.1" || all[1].GetId() != "m1.1.2" || all[1].GetHop() != 1 {
		t.Errorf("%s, %s, hop %d", all[0].GetId(), all[1].GetId(), all[1].GetHop())
	}
	if got := all[1].GetSource().GetStream(); got != bus.RetryStream(0) {
		t.Errorf("the second attempt settles a record of %s", got)
	}
	if got := all[0].GetPause().AsDuration(); got != 50*time.Millisecond {
		t.Errorf("the outcome says a wait of %s", got)
	}
	if took := all[1].GetDecidedAt().AsTime().Sub(all[0].GetDecidedAt().AsTime()); took < 50*time.Millisecond {
		t.Errorf("tried again after %s, the pause is 50ms", took)
	}
	w.eventually("floors", func() bool {
		return w.floor(0, bus.StreamMail) == 2 && w.floor(0, bus.RetryStream(0)) >= 3
	})
	if !s.stop() {
		t.Error("not clean")
	}
}

func TestQ08_RetryOfAnAmbiguousResultIsMarked(t *testing.T) {
	w := newWorld(t, 1)
	w.start("a", 0, func(_ context.Context, r *tenure.Record) *eventv1.Outcome {
		o := answer(r)
		if r.Mail.GetAttempt() == 0 {
			o.Results[0].PossibleDuplicate = true
		}
		return o
	})
	w.submit(0, mail("m1", "defer-1@example.test"))
	all := w.finals(1)
	if last := all[len(all)-1]; !last.GetResults()[0].GetPossibleDuplicate() {
		t.Errorf("%v", last)
	}
}

func TestQ03_ExpiresWhenNoWaitFits(t *testing.T) {
	w := newWorld(t, 1)
	w.start("a", 0, func(_ context.Context, r *tenure.Record) *eventv1.Outcome {
		o := answer(r)
		o.ExpiresAt = timestamppb.New(time.Now().Add(30 * time.Second))
		o.Pause = durationpb.New(5 * time.Minute)
		o.Results[0].Pause = o.Pause
		o.Results[0].Failure = &eventv1.Failure{Reason: "no_greeting"}
		return o
	})
	w.submit(0, mail("m1", "always-1@example.test"))
	all := w.finals(1)
	r := all[0].GetResults()[0]
	if r.GetState() != expired || r.GetFailure().GetReason() != "no_greeting" || r.GetStatus().GetDetail() != 7 {
		t.Errorf("%v", r)
	}
	var subject string
	w.each(bus.StreamOutcome, func(d bus.Delivery, _ bus.Frame) { subject = d.Subject })
	if subject != bus.OutcomeSubject(bus.Notice, 0) {
		t.Errorf("stored on %s, but its sender is to be told", subject)
	}
}

func TestWaitsThatAreCutOrLong(t *testing.T) {
	w := newWorld(t, 1)
	pauses := map[string][2]time.Duration{ // wanted, until expiry
		"five": {5 * time.Minute, time.Hour}, "cut": {4 * time.Hour, 100 * time.Minute}, "long": {7 * time.Minute, time.Hour},
	}
	w.start("a", 0, func(_ context.Context, r *tenure.Record) *eventv1.Outcome {
		p := pauses[r.Mail.GetMessageId()]
		o := answer(r)
		o.ExpiresAt = timestamppb.New(time.Now().Add(p[1]))
		o.Pause = durationpb.New(p[0])
		return o
	})
	w.submit(0, mail("five", "always-1@example.test"), mail("cut", "always-1@example.test"), mail("long", "always-1@example.test"))
	w.eventually("moves", func() bool { return len(w.copies(bus.RetryStream(5)))+len(w.copies(bus.RetryStream(80))) == 3 })
	for _, m := range w.copies(bus.RetryStream(5)) {
		if want := m.GetMessageId() == "long"; (m.GetPause() != nil) != want || (want && m.GetPause().AsDuration() != 7*time.Minute) {
			t.Errorf("%s in RETRY_5 with pause %v", m.GetMessageId(), m.GetPause().AsDuration())
		}
	}
	if got := w.copies(bus.RetryStream(80)); len(got) != 1 || got[0].GetMessageId() != "cut" || got[0].GetPause() != nil {
		t.Errorf("in RETRY_80: %v", got)
	}
}

func TestNotBeforeIsWaitedFor(t *testing.T) {
	w := newWorld(t, 1)
	attempts := newSeen()
	later, soon := mail("later", "ok@example.test"), mail("soon", "ok@example.test")
	later.NotBefore = timestamppb.New(time.Now().Add(15 * time.Minute))
	at := time.Now().Add(300 * time.Millisecond)
	soon.NotBefore = timestamppb.New(at)
	w.submit(0, later, soon)
	w.start("a", 0, attempts.counting)
	all := w.finals(1)
	if early := at.Sub(all[0].GetDecidedAt().AsTime()); early > 20*time.Millisecond {
		t.Errorf("attempted %s too early", early)
	}
	copies := w.copies(bus.RetryStream(10))
	if len(copies) != 1 || copies[0].GetMovedFor() != "wait" || copies[0].GetAttempt() != 0 || copies[0].GetPause() == nil {
		t.Errorf("%v", copies)
	}
	if n, _ := attempts.of("later"); n != 0 {
		t.Error("attempted before its time")
	}
}

// A record whose wait of memory is under way when its sender dies waits on at the next one.
func TestWaitInMemorySurvivesACrash(t *testing.T) {
	w := newWorld(t, 1)
	attempts := newSeen()
	short := func(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
		attempts.note(r)
		o := answer(r)
		if o.GetPause() != nil {
			o.Pause = durationpb.New(time.Second)
		}
		return o
	}
	a := w.start("a", 0, short)
	w.submit(0, mail("m1", "defer-1@example.test"))
	w.eventually("the move", func() bool { return len(w.copies(bus.RetryStream(0))) == 1 })
	moved := time.Now()
	a.kill()
	w.start("b", 0, short)
	w.finals(1)
	if waited := time.Since(moved); waited < 900*time.Millisecond {
		t.Errorf("the second attempt came after %s", waited)
	}
	if n, _ := attempts.of("m1"); n != 2 {
		t.Errorf("%d attempts", n)
	}
}
