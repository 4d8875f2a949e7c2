// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"context"
	"io"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/intake"
	"github.com/postrider/postrider/services/sender/internal/lanes"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/park"
	"github.com/postrider/postrider/services/sender/internal/progress"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

// Record is a record that was read and is not settled.
type Record struct {
	// Mail must not be changed.
	Mail *eventv1.QueuedMail
	// Place is where it was read first.
	Place ledger.Place

	tenure *Tenure

	// Guarded by the tenure's mutex.
	stage    stage
	content  []byte
	at       ledger.Place     // where it lies now
	page     *page            // of the segment there; nil while that is not read
	slot     int              // in page
	hops     uint32           // copies made since it was read
	carrying bool             // one is on its way
	outcome  *eventv1.Outcome // waits for that
	parking  *int             // turn of parkings it is counted in
}

// stage is what is being done with a record.
type stage uint8

const (
	waiting stage = iota // in its lane, for its time, or aside
	attempted
	settling
)

// page holds the records of a segment that are not settled.
type page struct {
	segment *progress.Segment
	records []*Record // nil where one is settled
	open    int
}

// enter puts a record on a page; t.mu is held.
func (p *page) enter(r *Record, at ledger.Place) {
	r.page, r.slot, r.at = p, len(p.records), at
	p.records = append(p.records, r)
	p.open++
}

// leave takes a record off its page; t.mu is held.
func (t *Tenure) leave(r *Record) {
	p := r.page
	p.records[r.slot] = nil
	if p.open--; p.open == 0 {
		delete(t.pages, p.segment)
	}
	r.page = nil
}

// dispose does with a record what is to be done.
func (t *Tenure) dispose(r *Record, d intake.Disposition) {
	switch d.Kind {
	case intake.Attempt:
		t.offer(r)
	case intake.Wait:
		t.later(r, time.Until(d.Until))
	case intake.Chain:
		t.move(r, settle.Copy(r.Mail, r.at, settle.ForWait, d.Chained), d.Chained.Minutes)
	case intake.MoveOn:
		w := t.waitAfter(d.Outcome)
		t.move(r, settle.Retry(r.Mail, r.at, d.Outcome, w), w.Minutes)
	case intake.Hold:
		t.hold(r, settle.HeldReason{Reason: smtpreply.ReasonUndecodable, Detail: "the stored record cannot be read"}, d.Fault)
	case intake.Aside:
		t.act(r, d.Decision)
	}
}

// waitAfter returns the wait for the recipients a stored outcome left. When their time ran out since, they are attempted
// at once: only an attempt can expire them.
func (t *Tenure) waitAfter(o *eventv1.Outcome) due.Wait {
	left := o.GetExpiresAt().AsTime().Sub(t.opts.Clock.Estimate())
	w, ok := due.Plan(t.minutes, o.GetPause().AsDuration(), left)
	if !ok {
		return due.Wait{}
	}
	return w
}

// offer lets a record wait in its lane.
func (t *Tenure) offer(r *Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping {
		return
	}
	t.opts.Lanes.Push(lanes.Mail{
		Domain: r.Mail.GetDestination(), Tenant: r.Mail.GetTenant(), Priority: r.Mail.GetPriority(),
		Size: int64(r.Mail.GetContent().GetSize()),
	}, r)
}

// later offers a record after a while.
func (t *Tenure) later(r *Record, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping {
		return
	}
	t.timers[r] = time.AfterFunc(d, func() {
		t.mu.Lock()
		delete(t.timers, r)
		t.mu.Unlock()
		t.offer(r)
	})
}

// setAside keeps a record until the lease is confirmed again; t.mu is held.
func (t *Tenure) setAside(r *Record) {
	if t.stopping {
		return
	}
	t.aside = append(t.aside, r)
	if t.asideDue == nil {
		t.asideDue = time.AfterFunc(renewAgain, t.bringBack)
	}
}

// bringBack offers what was set aside, once the lease is confirmed.
func (t *Tenure) bringBack() {
	confirmed := t.right().Confirmed()
	t.mu.Lock()
	if !confirmed && !t.stopping {
		t.asideDue.Reset(renewAgain)
		t.mu.Unlock()
		return
	}
	back := t.aside
	t.aside, t.asideDue = nil, nil
	t.mu.Unlock()
	for _, r := range back {
		t.offer(r)
	}
}

// Begin reports whether the record may be attempted now, and counts the attempt if so; then End must be called. The
// record is taken back otherwise: its tenure ends, its lease is not confirmed, or operators have changed something.
func (r *Record) Begin() bool {
	t := r.tenure
	confirmed := t.right().Confirmed()
	decision := t.rules.Decide(r.Mail, t.opts.Clock.Estimate())
	t.mu.Lock()
	switch {
	case t.stopping:
	case !confirmed:
		t.setAside(r)
	case decision.Kind != park.Go: // changed since it was read
		t.setOff(r)
		t.mu.Unlock()
		t.act(r, decision)
		return false
	default:
		t.running++
		r.stage = attempted
		t.mu.Unlock()
		return true
	}
	t.mu.Unlock()
	return false
}

// Context ends when the attempt is to be given up.
func (r *Record) Context() context.Context { return r.tenure.attempts }

// MayStart reports whether a further transaction may start.
func (r *Record) MayStart() bool { return r.tenure.right().Confirmed() }

// End takes the outcome of the attempt. nil means that there is none and the record stands as it was.
func (r *Record) End(o *eventv1.Outcome) {
	t := r.tenure
	t.mu.Lock()
	r.stage = waiting
	if o == nil {
		t.setAside(r)
	} else {
		r.stage = settling
		t.moving++
	}
	t.running--
	t.change()
	now := o != nil && !r.carrying
	if !now {
		r.outcome = o // the outcome has to say where the record lies, which is not known yet
	}
	t.mu.Unlock()
	if now {
		t.settle(r, o)
	}
}

// Open returns the content of the message. The error wraps fs.ErrNotExist when the body store does not have it.
func (r *Record) Open() (io.ReadSeekCloser, error) { return r.tenure.open(r) }
