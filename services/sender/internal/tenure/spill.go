// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"context"
	"errors"
	"time"

	"github.com/postrider/postrider/kit/bus"
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
			t.makeRoom()
		}
	}
}

// makeRoom moves on what lanes hold beyond their share, and what slow ones cannot take soon.
func (t *Tenure) makeRoom() {
	l := t.opts.Limits
	t.spill(t.opts.Lanes.TakeSurplus(max(1, l.Window/2), lanes.Share{
		Records: max(1, l.Window/share), Bytes: l.WindowBytes() / share,
	}, func(r *Record) bool { return r.tenure == t && t.timeLeft(r) > spillFor }))
}

// halfFull reports whether the window is half full: then room is made before reading has to wait for it.
func (t *Tenure) halfFull() bool {
	records, bytes := t.Held()
	return records > t.opts.Limits.Window/2 || bytes > t.opts.Limits.WindowBytes()/2
}

// spilledTo returns the domains of a segment of which every record was spilled; all is false when one waits for something
// else than its lane.
func spilledTo(d bus.Delivery) (domains map[string]bool, all bool) {
	domains = make(map[string]bool)
	for i := range d.Segment.Len() {
		frame, err := d.Segment.Frame(i)
		if err != nil {
			return nil, false
		}
		mail, err := frame.Mail()
		if err != nil || mail.GetMovedFor() != settle.ForSpill {
			return nil, false
		}
		domains[mail.GetDestination()] = true
	}
	return domains, d.Err == nil
}

// waitForLanes waits until a moment, or until the lanes of spilled mail have run empty: what was spilled for want of room
// need not wait any longer then.
func (t *Tenure) waitForLanes(ctx context.Context, until time.Time, domains map[string]bool) {
	for left := time.Until(until); left > soonDue && ctx.Err() == nil; left = time.Until(until) {
		if records, _ := t.Held(); records < t.opts.Limits.Window/share && t.runEmpty(domains) {
			return
		}
		t.sleep(ctx, min(left, lookAround), nil)
	}
	t.sleep(ctx, time.Until(until), nil)
}

// runEmpty reports whether what waits for some domains will be done within a second.
func (t *Tenure) runEmpty(domains map[string]bool) bool {
	for domain := range domains {
		if o := t.opts.Lanes.Outlook(domain); o.Down != nil || o.Wait > time.Second {
			return false
		}
	}
	return true
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
