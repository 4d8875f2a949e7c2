// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

// settle stores the outcome of an attempt and then, when recipients remain, the record that carries them on. Nobody
// waits for it; t.moving counts it.
func (t *Tenure) settle(r *Record, o *eventv1.Outcome) {
	now := t.opts.Clock.Estimate()
	w, remains := t.complete(r, o, now)
	if t.opts.Events != nil {
		t.opts.Events.Settling(r.Mail, o, now.Add(w.Pause))
	}
	then := func() { t.settled(r) }
	if remains {
		next := settle.Retry(r.Mail, r.at, o, w)
		next.Hop += r.hops
		retry, err := t.frame(r, next)
		if err != nil {
			t.fail(err)
			return
		}
		then = func() {
			t.append(t.retries[w.Minutes], retry, settle.ForRetry, func() {
				crashpoint.At("sender.retry.after")
				t.settled(r)
			})
		}
	}
	if reason, held := heldFor(o); held {
		t.tellHeld(r, errors.New(reason))
		left := settle.Only(r.Mail, o, eventv1.RecipientState_RECIPIENT_STATE_HELD)
		t.park(r, left, settle.ForHold, func() { t.storeOutcome(r, o, then) })
		return
	}
	t.storeOutcome(r, o, then)
}

// storeOutcome appends an outcome with what a notification returns of the message, and then goes on with then.
func (t *Tenure) storeOutcome(r *Record, o *eventv1.Outcome, then func()) {
	n, full := settle.Returned(o)
	returned := t.beginning(r, n)
	o.ReturnsFullContent = full && int64(len(returned)) == n
	outcome, err := bus.FrameOutcome(o, returned)
	if err != nil {
		t.fail(err)
		return
	}
	crashpoint.At("sender.outcome.before")
	t.append(t.outcomes[settle.Kind(o)], outcome, "", func() {
		crashpoint.At("sender.outcome.after")
		then()
	})
}

// complete fills in what only the queue knows, and decides how long the remaining recipients wait.
func (t *Tenure) complete(r *Record, o *eventv1.Outcome, now time.Time) (w due.Wait, remains bool) {
	o.Source = r.at.Source()
	o.Hop = r.Mail.GetHop() + r.hops
	if o.GetDecidedAt() == nil {
		o.DecidedAt = timestamppb.New(now)
	}
	if !t.right().Confirmed() {
		settle.Mark(o)
	}
	if _, held := heldFor(o); held {
		settle.HoldRest(o)
	}
	if by := t.rules.Standing(r.Mail).Cancelled; by != nil && ledger.Remains(o) {
		settle.Cancel(o, by)
	}
	if remains = ledger.Remains(o); remains {
		var fits bool
		if w, fits = due.Plan(t.minutes, o.GetPause().AsDuration(), o.GetExpiresAt().AsTime().Sub(now)); fits {
			o.Pause = durationpb.New(w.Pause)
		} else {
			settle.Expire(o)
			remains = false
		}
	}
	settle.Slim(o)
	return w, remains
}

// heldFor returns why an attempt set a recipient aside.
func heldFor(o *eventv1.Outcome) (reason string, held bool) {
	for _, result := range o.GetResults() {
		if result.GetState() == eventv1.RecipientState_RECIPIENT_STATE_HELD {
			return result.GetFailure().GetReason(), true
		}
	}
	return "", false
}

// move appends a copy of a record to a RETRY stream and settles it with that. t.moving counts it already.
func (t *Tenure) move(r *Record, copied *eventv1.QueuedMail, minutes int) {
	f, err := t.frame(r, copied)
	if err != nil {
		t.fail(err)
		return
	}
	crashpoint.At("sender.move.before")
	t.append(t.retries[minutes], f, copied.GetMovedFor(), func() {
		crashpoint.At("sender.move.after")
		t.settled(r)
	})
}

// frame returns the frame of a copy with its content behind it.
func (t *Tenure) frame(r *Record, copied *eventv1.QueuedMail) (bus.Frame, error) {
	settle.SlimHistory(copied)
	return bus.FrameMail(copied, r.content)
}

// append appends a frame and then goes on with then. It does not wait. why is told when it is a move.
func (t *Tenure) append(a *bus.Appender, f bus.Frame, why string, then func()) {
	t.appendBy(a.Enqueue, f, why, func(bus.Position) { then() })
}

func (t *Tenure) appendBy(
	enqueue func([]bus.Frame, func(bus.Position, error)) error, f bus.Frame, why string, then func(bus.Position),
) {
	err := enqueue([]bus.Frame{f}, func(p bus.Position, err error) {
		if err != nil {
			t.fail(fmt.Errorf("settle: %w", err))
			return
		}
		if why != "" && t.opts.Events != nil {
			t.opts.Events.Moved(why)
		}
		then(p)
	})
	switch {
	case err == nil:
	case errors.Is(err, bus.ErrNoRoom):
		time.AfterFunc(readPause, func() { t.appendBy(enqueue, f, why, then) })
	default:
		t.fail(fmt.Errorf("settle: %w", err))
	}
}

// settled notes that a record is settled.
func (t *Tenure) settled(r *Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.page != nil {
		t.desk.Settled(r.page.segment)
		t.leave(r)
	} else {
		t.desk.Concluded(r.at)
		delete(t.unread, r.at)
	}
	t.moving--
	if r.parking != nil {
		t.parkings.end(*r.parking)
		r.parking = nil
	}
	t.change()
}
