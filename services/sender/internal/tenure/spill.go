// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"context"
	"errors"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/lanes"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

const (
	// pressure is how long reading waits for room before lanes that are slow, or hold more than their share, have to
	// give some.
	pressure = 100 * time.Millisecond
	// share is the part of the window that a lane may keep when room is needed.
	share = 4
	// spillFor is what a record must have left to be spilled from a site that is not down: the longest spill, and time
	// for attempts after it.
	spillFor = time.Hour
)

// waitForRoom waits until there is room for a segment. While there is none, what lanes hold beyond their share is moved on
// to a RETRY stream, so that neither a sick site nor a newsletter keeps the mail of others out.
func (t *Tenure) waitForRoom(ctx context.Context, stream string, records int, bytes int64) error {
	l := t.opts.Limits
	for {
		full := false
		err := t.awaitFor(ctx, pressure, func() bool {
			ok, unsaid := t.desk.Room(stream, records, bytes, l.WindowBytes(), l.LedgerBytes)
			if full = !ok && !unsaid; unsaid {
				t.sayHeld()
			}
			return ok
		})
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if full {
			t.spill(t.opts.Lanes.TakeSurplus(max(1, l.Window/2), lanes.Share{
				Records: max(1, l.Window/share), Bytes: l.WindowBytes() / share,
			}, func(r *Record) bool { return r.tenure == t && t.timeLeft(r) > spillFor }))
		}
	}
}

// spill moves on what was taken out of the lanes.
func (t *Tenure) spill(surplus []lanes.Surplus[*Record]) {
	t.mu.Lock()
	if t.stopping {
		t.mu.Unlock()
		return
	}
	t.moving += len(surplus)
	for _, s := range surplus {
		s.Value.stage = settling
	}
	t.mu.Unlock()
	for _, s := range surplus {
		t.spillOne(s.Value, s.Outlook)
	}
}

// spillOne lets a record wait in the RETRY stream nearest to what its lane needs. No attempt is counted, and the record
// is not spilled again before it has waited. Its sender is told of the delay when that is due, and of the failure
// when no wait is short enough: an outcome says so, as after an attempt. t.moving counts it.
func (t *Tenure) spillOne(r *Record, o lanes.Outlook) {
	minutes := due.Nearest(t.minutes, o.Wait)
	w := due.Wait{Minutes: minutes, Pause: time.Duration(minutes) * time.Minute}
	if t.timeLeft(r) >= w.Pause && !t.noticeDue(r) {
		t.move(r, settle.Spilled(r.Mail, r.at, o.Down, w), minutes)
		return
	}
	now := t.opts.Clock.Estimate()
	t.settle(r, settle.Waiting(r.Mail, r.at, settle.Delay{
		Pause: w.Pause, Down: o.Down, ExpiresAt: t.expiresAt(r), Now: now,
		Notice: func(recipient *eventv1.Recipient) bool { return t.noticeDueTo(r, recipient) },
	}))
}

func nullSender(m *eventv1.QueuedMail) bool { return m.GetEnvelope().GetSender() == "" }

func (t *Tenure) expiresAt(r *Record) time.Time {
	return t.opts.Retry.ExpiresAt(r.Mail.GetAcceptedAt().AsTime(), nullSender(r.Mail))
}

// timeLeft is how long a record may still be tried.
func (t *Tenure) timeLeft(r *Record) time.Duration {
	return t.expiresAt(r).Sub(t.opts.Clock.Estimate())
}

func (t *Tenure) noticeDueTo(r *Record, recipient *eventv1.Recipient) bool {
	return t.opts.Retry.DelayNoticeDue(recipient, r.Mail.GetAcceptedAt().AsTime(), t.opts.Clock.Estimate(), nullSender(r.Mail))
}

func (t *Tenure) noticeDue(r *Record) bool {
	for _, recipient := range r.Mail.GetEnvelope().GetRecipients() {
		if t.noticeDueTo(r, recipient) {
			return true
		}
	}
	return false
}
