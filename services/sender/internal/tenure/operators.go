// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/changes"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/operators"
	"github.com/postrider/postrider/services/sender/internal/park"
	"github.com/postrider/postrider/services/sender/internal/scan"
)

// Operators are the changes operators make.
type Operators struct {
	Mirror *changes.Mirror
	Store  *bus.Changes
	// SweepEvery is how often PARK is gone through.
	SweepEvery time.Duration
}

// rules are the operators' changes as the desk asks for them (intake.Rules).
type rules struct {
	*operators.Book
	schedule park.Schedule
}

// Decide says whether a record may be attempted.
func (r rules) Decide(m *eventv1.QueuedMail, now time.Time) park.Decision {
	return park.Decide(m, r.Standing(m), r.schedule, now)
}

func (t *Tenure) scanner() *scan.Scanner {
	o := t.opts.Operators
	return scan.New(scan.Options{
		JS: t.opts.JS, Partition: t.opts.Partition, Minutes: t.minutes, Host: host{t}, Mirror: o.Mirror, Store: o.Store,
		Book: t.rules.Book, Schedule: &t.opts.Retry, Now: t.opts.Clock.Estimate, SweepEvery: o.SweepEvery, Log: t.opts.Log,
	})
}

// host is the tenure as a scan sees it (scan.Host).
type host struct{ t *Tenure }

func (h host) Unread(stream string) uint64 { return h.t.next(stream) }

func (h host) Claim(stream string, sequence uint64) bool {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	if h.t.desk.Next(stream) > sequence {
		return false
	}
	h.t.claimed[stream] = sequence
	return true
}

func (h host) Unclaim(stream string) {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	delete(h.t.claimed, stream)
	h.t.change()
}

func (h host) State(p ledger.Place) (ledger.State, *eventv1.Outcome) {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	return h.t.desk.State(p)
}

func (h host) Doubtful(stream string, sequence uint64) bool {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	return h.t.desk.Doubtful(stream, sequence)
}

func (h host) Reopen(p ledger.Place) {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	h.t.desk.Reopen(p)
}

func (h host) Noted(stream string) []uint64 {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	return h.t.desk.Noted(stream)
}

func (h host) Gone(stream string, sequence uint64) {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	h.t.desk.Gone(stream, sequence)
}

func (h host) Pin() (unpin func()) {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	pin := h.t.desk.Pin()
	return func() {
		h.t.mu.Lock()
		defer h.t.mu.Unlock()
		h.t.desk.Unpin(pin)
	}
}

// Copy appends to RETRY_0. An append that failed fails the tenure, as every other does: what became of it is for the next
// owner to find out.
func (h host) Copy(ctx context.Context, why string, frames []bus.Frame) error {
	stored := make(chan error, 1)
	for {
		err := h.t.retries[0].Enqueue(frames, func(_ bus.Position, err error) { stored <- err })
		if err == nil {
			break
		}
		if !errors.Is(err, bus.ErrNoRoom) {
			h.t.fail(fmt.Errorf("scan: %w", err))
			return err
		}
		h.t.sleep(ctx, readPause, nil)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := <-stored; err != nil {
		h.t.fail(fmt.Errorf("scan: %w", err))
		return err
	}
	if h.t.opts.Events != nil {
		for range frames {
			h.t.opts.Events.Moved(why)
		}
	}
	return nil
}

func (h host) SetAside(ctx context.Context, p ledger.Place, raw []byte, fault error) error {
	stored := make(chan struct{})
	r := &Record{tenure: h.t, Place: p, at: p, content: raw}
	h.t.tellHeld(r, fault)
	h.t.parkUnreadable(r, func() { close(stored) })
	select {
	case <-stored:
		return nil
	case <-h.t.failed:
		return h.t.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Decided waits for the records that were on their way to PARK when it was called.
func (h host) Decided(ctx context.Context) error {
	t := h.t
	t.mu.Lock()
	before := t.parkings.turn()
	t.mu.Unlock()
	return t.await(ctx, func() bool { return t.failure != nil || t.parkings.done(before) })
}

func (h host) Renew(ctx context.Context) error { return h.t.renew(ctx) }

func (h host) Quiet(before time.Time) bool {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	at, some := h.t.desk.Oldest()
	return !some || at.After(before)
}

// Recall judges anew what waits in lanes or for less than a minute.
func (h host) Recall(c *eventv1.Change) {
	t, now := h.t, h.t.opts.Clock.Estimate()
	if c.GetAction() == eventv1.ChangeAction_CHANGE_ACTION_RETRY_NOW {
		t.hurry(func(r *Record) bool { return t.rules.Matches(r.Mail, c.GetId()) })
		return
	}
	concerned := func(r *Record) bool { return r.tenure == t && t.rules.Decide(r.Mail, now).Kind != park.Go }
	waiting := t.opts.Lanes.Remove(concerned)
	t.mu.Lock()
	if t.stopping {
		t.mu.Unlock()
		return
	}
	for r, timer := range t.timers {
		if concerned(r) && timer.Stop() {
			delete(t.timers, r)
			waiting = append(waiting, r)
		}
	}
	decisions := make([]park.Decision, len(waiting))
	for i, r := range waiting {
		if decisions[i] = t.rules.Decide(r.Mail, now); decisions[i].Kind != park.Go {
			t.setOff(r)
		}
	}
	t.mu.Unlock()
	for i, r := range waiting {
		if decisions[i].Kind == park.Go { // taken back meanwhile
			t.offer(r)
			continue
		}
		t.act(r, decisions[i])
	}
}

// hurry ends the wait of records in memory.
func (t *Tenure) hurry(match func(*Record) bool) {
	var due []*Record
	t.mu.Lock()
	for r, timer := range t.timers {
		if match(r) && timer.Stop() {
			delete(t.timers, r)
			due = append(due, r)
		}
	}
	t.mu.Unlock()
	for _, r := range due {
		t.offer(r)
	}
}

// setOff counts a record that is about to be settled by operators' changes; t.mu is held.
func (t *Tenure) setOff(r *Record) {
	t.moving++
	r.stage = settling
	r.parking = t.parkings.begin()
}

// parkings counts what is on its way to PARK, by turns: one who waits for what is on its way now begins a new turn, and
// waits until the former ones are empty.
type parkings struct {
	now  int
	open map[int]int
}

// turn begins a new turn and returns the former one.
func (p *parkings) turn() int {
	p.now++
	return p.now - 1
}

func (p *parkings) begin() *int {
	turn := p.now
	p.open[turn]++
	return &turn
}

func (p *parkings) end(turn int) {
	if p.open[turn]--; p.open[turn] == 0 {
		delete(p.open, turn)
	}
}

func (p *parkings) done(turn int) bool {
	for open := range p.open {
		if open <= turn {
			return false
		}
	}
	return true
}
