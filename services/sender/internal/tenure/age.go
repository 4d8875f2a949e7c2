// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"bytes"
	"context"
	"time"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/lanes"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

// lookAround is how often the lanes are looked over for mail that has to go elsewhere.
const lookAround = 100 * time.Millisecond

// clear moves on, until ctx ends, what waits for sites that are down, what lanes hold beyond their share, and what
// has been in work for long: a segment must not hold its stream's floor back because of a few stragglers (queue.md,
// section 4).
func (t *Tenure) clear(ctx context.Context) {
	for ctx.Err() == nil {
		t.sleep(ctx, lookAround, nil)
		t.spill(t.opts.Lanes.TakeDown(func(r *Record) bool { return r.tenure == t }))
		if t.halfFull() {
			t.makeRoom()
		}
		t.repack()
	}
}

// repack moves the records on that have been in work for long. The stragglers of many segments come to lie together.
func (t *Tenure) repack() {
	waits, runs := t.stragglers()
	for _, r := range runs {
		t.carry(r)
	}
	if len(waits) == 0 {
		return
	}
	outlooks := make(map[string]lanes.Outlook)
	for r := range waits {
		domain := r.Mail.GetDestination()
		if _, known := outlooks[domain]; !known {
			outlooks[domain] = t.opts.Lanes.Outlook(domain)
		}
		// What has no time left for a wait is for an attempt to settle.
		o := outlooks[domain]
		if o.Down == nil && t.timeLeft(r) < time.Duration(due.Nearest(t.minutes, o.Wait))*time.Minute {
			delete(waits, r)
		}
	}
	removed := t.opts.Lanes.Remove(func(r *Record) bool { return waits[r] })
	surplus := make([]lanes.Surplus[*Record], 0, len(removed))
	for _, r := range removed {
		surplus = append(surplus, lanes.Surplus[*Record]{Value: r, Outlook: outlooks[r.Mail.GetDestination()]})
	}
	t.spill(surplus)
}

// stragglers returns the records that wait and those that are attempted, of segments that have been in work for long.
// The latter are counted as carried already.
func (t *Tenure) stragglers() (waits map[*Record]bool, runs []*Record) {
	now, l := t.opts.Clock.Estimate(), t.opts.Limits
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping {
		return nil, nil
	}
	for _, segment := range t.desk.Stragglers(now.Add(-l.WorkFor), now.Add(-l.WorkForAtLeast)) {
		for _, r := range t.pages[segment].records {
			switch {
			case r == nil || r.carrying:
			case r.stage == attempted:
				t.beginCarry(r)
				runs = append(runs, r)
			case r.stage == waiting:
				if waits == nil {
					waits = make(map[*Record]bool)
				}
				waits[r] = true
			}
		}
	}
	return waits, runs
}

// beginCarry notes that a copy of a record is about to be made; t.mu is held.
func (t *Tenure) beginCarry(r *Record) {
	r.carrying = true
	t.moving++
}

// carry copies a record forward whose attempt goes on, and settles it where it was read. Its outcome settles the copy.
// t.moving counts it.
func (t *Tenure) carry(r *Record) {
	minutes := due.Nearest(t.minutes, t.opts.Limits.WorkFor)
	copied := settle.Carried(r.Mail, r.at, due.Wait{Minutes: minutes, Pause: time.Duration(minutes) * time.Minute})
	copied.Hop += r.hops
	f, err := t.frame(r, copied)
	if err != nil {
		t.fail(err)
		return
	}
	crashpoint.At("sender.carry.before")
	t.appendBy(t.retries[minutes].Enqueue, f, settle.ForCarry, func(p bus.Position) {
		crashpoint.At("sender.carry.after")
		t.carried(r, ledger.Place{Stream: p.Stream, Sequence: p.Sequence, Index: p.Index})
	})
}

// carried notes that the copy of a record lies at p.
func (t *Tenure) carried(r *Record, p ledger.Place) {
	t.mu.Lock()
	t.desk.Carried(r.page.segment, p)
	t.leave(r)
	t.unread[p] = r
	r.at, r.carrying = p, false
	r.hops++
	r.content = bytes.Clone(r.content) // so that its segment's memory is free
	o := r.outcome
	r.outcome = nil
	t.moving--
	t.change()
	t.mu.Unlock()
	if o != nil {
		t.settle(r, o)
	}
}

// found attaches a record in work to its copy, which has just been read, and reports whether it has to be carried again;
// t.mu is held.
func (t *Tenure) found(at ledger.Place, p *page) (r *Record, again bool) {
	r = t.unread[at]
	delete(t.unread, at)
	p.enter(r, at)
	if again = r.stage == attempted; again {
		t.beginCarry(r)
	}
	return r, again
}
