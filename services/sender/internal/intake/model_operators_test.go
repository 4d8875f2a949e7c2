// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/changes"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/operators"
	"github.com/postrider/postrider/services/sender/internal/park"
	"github.com/postrider/postrider/services/sender/internal/progress"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

// Operators in the model: they suspend and resume, hold and release, cancel, and have mail attempted now, at any moment.
// Every sender learns of it sooner or later. It parks what it may not attempt, and scans what waits, in steps of which
// any may be its last: pin, copies, progress or deletion, unpin. In the end everything is taken back, so all must be out.

// modelOperators is what is stored of changes.
type modelOperators struct {
	changes   []*eventv1.Change
	progress  map[string]*eventv1.Change
	revision  map[string]int
	cancelled map[string]bool // recipients of whom an outcome says so
	slow      bool            // what is stored is noted late
}

// senderOperators is what a sender knows of them.
type senderOperators struct {
	m         *model
	seen      int                        // changes its mirror has
	known     map[string]*eventv1.Change // progress its mirror has
	book      *operators.Book
	revisions map[string]int
	scan      *modelScan
}

// modelScan is a step of a scan under way.
type modelScan struct {
	place    ledger.Place // of the segment; its index has no meaning
	pin      *progress.Pin
	copies   []*eventv1.QueuedMail
	copied   []ledger.Place
	progress *eventv1.Change // nil for one of PARK
	stored   bool
}

const (
	modelSuspend = eventv1.ChangeAction_CHANGE_ACTION_SUSPEND
	modelResume  = eventv1.ChangeAction_CHANGE_ACTION_RESUME
	modelHold    = eventv1.ChangeAction_CHANGE_ACTION_HOLD
	modelRelease = eventv1.ChangeAction_CHANGE_ACTION_RELEASE
	modelCancel  = eventv1.ChangeAction_CHANGE_ACTION_CANCEL
	modelRetry   = eventv1.ChangeAction_CHANGE_ACTION_RETRY_NOW
)

// endless is a schedule on which nothing expires.
type endless struct{}

func (endless) ExpiresAt(time.Time, bool) time.Time { return server.Add(time.Hour) }
func (endless) NoticeAfter() time.Duration          { return time.Hour }
func (endless) DelayNoticeDue(*eventv1.Recipient, time.Time, time.Time, bool) bool {
	return false
}

func newOperatedModel(t *testing.T, seed uint64) *model {
	m := newModel(t, seed)
	m.ops = &modelOperators{
		progress: make(map[string]*eventv1.Change), revision: make(map[string]int), cancelled: make(map[string]bool),
		slow: seed%2 == 0,
	}
	return m
}

func (m *model) add(action eventv1.ChangeAction, of *eventv1.Change) {
	of.Id, of.Action = fmt.Sprintf("c%d", len(m.ops.changes)), action
	m.ops.changes = append(m.ops.changes, of)
}

// change lets operators change something, or not.
func (m *model) change() {
	if m.ops == nil {
		return
	}
	one := &eventv1.Change{MessageIds: []string{fmt.Sprintf("m%d", 1+m.rnd.IntN(m.made))}}
	all := &eventv1.Change{Destinations: []string{"example.test"}}
	switch m.rnd.IntN(12) {
	case 0:
		m.add(modelSuspend, all)
	case 1:
		m.add(modelResume, all)
	case 2:
		m.add(modelHold, one)
	case 3:
		m.add(modelRelease, all)
	case 4:
		m.add(modelCancel, one)
	case 5:
		m.add(modelRetry, one)
	case 6, 7, 8:
		m.add(modelRetry, all)
	}
}

// takeBack takes back whatever keeps mail.
func (m *model) takeBack() {
	if m.ops != nil {
		m.add(modelResume, &eventv1.Change{Destinations: []string{changes.Everything}})
		m.add(modelRelease, &eventv1.Change{Destinations: []string{changes.Everything}})
	}
}

// noted notes a result, and reports whether it says cancelled.
func (o *modelOperators) noted(r *eventv1.RecipientResult) bool {
	if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_CANCELLED {
		return false
	}
	o.cancelled[r.GetRecipient().GetAddress()] = true
	return true
}

func (o *modelOperators) told(address string) bool { return o != nil && o.cancelled[address] }

func (m *model) fencePark(s *modelSender) bool {
	m.logs[bus.StreamPark].owner = s
	return true
}

// rules returns what a sender that has just folded knows: every change there is, and the progress that is stored.
func (m *model) rules(s *modelSender) Rules {
	if m.ops == nil {
		return nil
	}
	s.ops = &senderOperators{m: m, known: make(map[string]*eventv1.Change), revisions: make(map[string]int)}
	s.ops.book = operators.NewBook(s.ops, 0)
	s.ops.learn()
	return s.ops
}

func (o *senderOperators) learn() {
	o.seen = len(o.m.ops.changes)
	for id, p := range o.m.ops.progress {
		o.known[id] = p
	}
}

// Standing, Matching and Progress make it a mirror (operators.Mirror).
func (o *senderOperators) Standing(mail changes.Mail) changes.Standing {
	var s changes.Standing
	for _, c := range o.Matching(mail, func(*eventv1.Change) bool { return true }) {
		switch c.GetAction() {
		case modelCancel:
			s.Cancelled = c
		case modelHold:
			s.Held = c
		case modelRelease:
			s.Held = nil
		case modelSuspend:
			s.Suspended = c
		case modelResume:
			s.Suspended = nil
		}
	}
	return s
}

func (o *senderOperators) Matching(mail changes.Mail, wants func(*eventv1.Change) bool) []*eventv1.Change {
	var list []*eventv1.Change
	for _, c := range o.m.ops.changes[:o.seen] {
		means := slices.Contains(c.GetMessageIds(), mail.MessageID) || slices.Contains(c.GetDestinations(), mail.Destination) ||
			slices.Contains(c.GetDestinations(), changes.Everything)
		if means && wants(c) {
			list = append(list, c)
		}
	}
	return list
}

func (o *senderOperators) Progress(id string, _ int) *eventv1.Change { return o.known[id] }

// Copied and Decide make it rules.
func (o *senderOperators) Copied(mail *eventv1.QueuedMail, p ledger.Place) bool {
	return o.m.breach.operators != "unskipped" && o.book.Copied(mail, p)
}

func (o *senderOperators) Decide(mail *eventv1.QueuedMail, now time.Time) park.Decision {
	return park.Decide(mail, o.book.Standing(mail), endless{}, now)
}

func (o *senderOperators) cancelled(mail *eventv1.QueuedMail) *eventv1.Change {
	if o == nil {
		return nil
	}
	return o.book.Standing(mail).Cancelled
}

func (o *senderOperators) claims(stream string, seq uint64) bool {
	return o != nil && o.scan != nil && o.scan.place.Stream == stream && o.scan.place.Sequence == seq
}

// aside sets a record aside that may not be attempted.
func (o *senderOperators) aside(f *flight) bool {
	if o == nil || f.begun {
		return false
	}
	d := o.Decide(f.mail, server)
	if d.Kind == park.Go {
		return false
	}
	f.setAside(d)
	return true
}

func (f *flight) setAside(d park.Decision) {
	switch d.Kind {
	case park.Cancel:
		f.outcome = settle.Cancelled(f.mail, f.place, d.By, time.Time{})
	default:
		f.move, f.park = settle.Copy(f.mail, f.place, d.Why, due.Wait{}), true
	}
}

// moveOn stores what is to be stored of a record elsewhere.
func (m *model) moveOn(s *modelSender, f *flight, minutes int) bool {
	if !f.park {
		_, ok := m.keep(s, minutes, f.move)
		return ok
	}
	l := m.logs[bus.StreamPark]
	if l.owner != s {
		m.end(s)
		return false
	}
	s.desk.Reached(bus.StreamPark, l.append(logSegment{records: []*eventv1.QueuedMail{f.move}}))
	return true
}

// operate goes one step further with operators' changes. It reports false when there is nothing to do.
func (m *model) operate(s *modelSender) bool {
	if m.rnd.IntN(4) == 0 {
		s.ops.learn()
	}
	if s.ops.scan != nil {
		if s.ops.scan.stored && m.ops.slow && m.rnd.IntN(4) != 0 {
			return false // much else happens before what is stored is noted
		}
		m.advance(s)
		return true
	}
	for _, seq := range s.desk.Noted(bus.StreamPark) { // left by a former owner
		if m.logs[bus.StreamPark].at(seq).deleted {
			s.desk.Gone(bus.StreamPark, seq)
			continue
		}
		m.takeOut(s, seq)
		return true
	}
	for _, c := range m.ops.changes[:s.ops.seen] {
		if changes.Scans(c.GetAction()) && m.scanFor(s, c) {
			return true
		}
	}
	return m.sweep(s)
}

// scanFor begins a step of a change that is not carried out.
func (m *model) scanFor(s *modelSender, c *eventv1.Change) bool {
	p := s.ops.book.Progress(c.GetId())
	if p == nil {
		p = &eventv1.Change{Id: c.GetId()}
	}
	p = proto.CloneOf(p)
	if c.GetAction() == modelRetry || c.GetAction() == modelCancel {
		if !done(p, bus.RetryStream(1)) {
			m.scanRetry(s, p)
			return true
		}
	}
	if c.GetAction() == modelRetry || done(p, bus.StreamPark) ||
		slices.ContainsFunc(s.held, func(f *flight) bool { return f.park }) { // what is on its way there comes first
		return false
	}
	l := m.logs[bus.StreamPark]
	for seq := uint64(1); seq <= l.last(); seq++ {
		if parked := l.at(seq); !parked.deleted && s.ops.book.Matches(parked.records[0], c.GetId()) {
			m.takeOut(s, seq)
			return true
		}
	}
	p.Progress = append(p.Progress, &eventv1.ScanProgress{Stream: bus.StreamPark, First: 1, Done: true})
	s.ops.scan = &modelScan{pin: s.desk.Pin(), progress: p, stored: true}
	return true
}

func done(p *eventv1.Change, stream string) bool {
	return slices.ContainsFunc(p.GetProgress(), func(at *eventv1.ScanProgress) bool { return at.GetStream() == stream && at.GetDone() })
}

// scanRetry begins with the next segment of RETRY_1 that was not read, or says that there is none.
func (m *model) scanRetry(s *modelSender, p *eventv1.Change) {
	stream := bus.RetryStream(1)
	l := m.logs[stream]
	var at *eventv1.ScanProgress
	for _, x := range p.GetProgress() {
		if x.GetStream() == stream {
			at = x
		}
	}
	if unread := s.desk.Next(stream); at == nil || unread > at.GetSequence()+1 {
		at = &eventv1.ScanProgress{Stream: stream, First: unread, Sequence: unread - 1}
		p.Progress = append(p.Progress, at)
	}
	seq := max(at.GetSequence()+1, l.first)
	x := &modelScan{place: ledger.Place{Stream: stream, Sequence: seq}, progress: p, pin: s.desk.Pin()}
	if m.breach.operators == "unpinned" {
		s.desk.Unpin(x.pin)
	}
	s.ops.scan = x
	if seq > l.last() {
		x.place, at.Done, x.stored = ledger.Place{}, true, true
		return
	}
	at.Sequence = seq
	for i, mail := range l.at(seq).records {
		place := ledger.Place{Stream: stream, Sequence: seq, Index: i}
		if mail.GetMovedFor() == settle.ForCarry || !s.ops.book.Matches(mail, p.GetId()) || s.ops.book.Copied(mail, place) {
			continue
		}
		switch state, outcome := s.desk.State(place); state {
		case ledger.Settled:
			x.copied = append(x.copied, place)
		case ledger.Deferred:
			x.copies = append(x.copies, settle.Retry(mail, place, outcome, due.Wait{}))
		default:
			next := settle.Copy(mail, place, settle.ForScan, due.Wait{})
			next.PossibleDuplicate = next.GetPossibleDuplicate() || s.desk.Doubtful(stream, seq)
			x.copies = append(x.copies, next)
		}
	}
}

// takeOut begins with a segment of PARK.
func (m *model) takeOut(s *modelSender, seq uint64) {
	x := &modelScan{place: ledger.Place{Stream: bus.StreamPark, Sequence: seq}, pin: s.desk.Pin()}
	for i, mail := range m.logs[bus.StreamPark].at(seq).records {
		place := ledger.Place{Stream: bus.StreamPark, Sequence: seq, Index: i}
		if state, _ := s.desk.State(place); state == ledger.Settled {
			continue
		}
		next := settle.FromPark(mail, place, settle.ForScan)
		if m.breach.operators == "speechless" {
			next.Settles = nil
		}
		x.copies = append(x.copies, next)
	}
	s.ops.scan = x
}

// sweep takes a segment out of PARK that nothing holds any more.
func (m *model) sweep(s *modelSender) bool {
	l := m.logs[bus.StreamPark]
	for seq := uint64(1); seq <= l.last(); seq++ {
		if parked := l.at(seq); !parked.deleted && s.ops.Decide(parked.records[0], server).Kind != park.Stay {
			m.takeOut(s, seq)
			return true
		}
	}
	return false
}

// advance goes on with the step of a scan that is under way: copies, then progress or deletion.
func (m *model) advance(s *modelSender) {
	x := s.ops.scan
	hasty := m.breach.operators == "hasty"
	switch {
	case !x.stored && !hasty:
		m.storeCopies(s, x)
		return
	case x.progress != nil:
		if !m.save(s, x.progress) {
			return
		}
		for _, p := range x.copied {
			s.desk.Reopen(p)
		}
	default:
		m.logs[bus.StreamPark].segments[x.place.Sequence-1].deleted = true
		s.desk.Gone(bus.StreamPark, x.place.Sequence)
	}
	if hasty && !x.stored && m.rnd.IntN(2) == 0 {
		m.storeCopies(s, x)
	}
	s.desk.Unpin(x.pin)
	s.ops.scan = nil
}

func (m *model) storeCopies(s *modelSender, x *modelScan) {
	if len(x.copies) > 0 {
		stream := bus.RetryStream(0)
		l := m.logs[stream]
		if l.owner != s {
			m.end(s)
			return
		}
		s.desk.Reached(stream, l.append(logSegment{records: x.copies}))
	}
	x.stored = true
}

// save stores progress, if nobody else has since; who finds that reads again and renews its lease, or ends.
func (m *model) save(s *modelSender, p *eventv1.Change) bool {
	id := p.GetId()
	if known, ok := s.ops.revisions[id]; !ok || known != m.ops.revision[id] {
		s.ops.revisions[id] = m.ops.revision[id]
		if m.lease != s {
			m.end(s)
			return false
		}
		return false // stored in a further step
	}
	m.ops.revision[id]++
	s.ops.revisions[id] = m.ops.revision[id]
	m.ops.progress[id] = p
	s.ops.book.Note(p)
	return true
}

func TestQ09_Q13_OperatorsLoseNothingAndSendNothingTwiceUnmarked(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() || underRace {
		seeds = 40
	}
	var parked, scanned, cancelled int
	for seed := range seeds {
		m := newOperatedModel(t, seed)
		m.run(700)
		if m.check(); m.trouble != "" {
			t.Fatalf("seed %d: %s", seed, m.trouble)
		}
		for _, s := range m.logs[bus.StreamPark].segments {
			if !s.deleted {
				t.Fatalf("seed %d: %v lies in PARK, and nothing holds it", seed, s.records)
			}
			parked++
		}
		for _, s := range m.logs[bus.RetryStream(0)].segments {
			for _, r := range s.records {
				if r.GetMovedFor() == settle.ForScan && r.GetSource().GetStream() == bus.RetryStream(1) {
					scanned++
				}
			}
		}
		cancelled += len(m.ops.cancelled)
	}
	if parked == 0 || scanned == 0 || cancelled == 0 {
		t.Errorf("%d parked, %d scanned, %d cancelled: the model proves nothing", parked, scanned, cancelled)
	}
}

func TestTheModelNoticesBrokenRulesOfOperators(t *testing.T) {
	for name, broken := range map[string]string{
		"a scan does not pin the fold":                         "unpinned",
		"an original that a scan has passed is not skipped":    "unskipped",
		"a copy out of PARK does not speak for what lay there": "speechless",
		"progress or deletion comes before the copies":         "hasty",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(400) {
				m := newOperatedModel(t, seed)
				m.breach.operators = broken
				m.run(700)
				if m.check(); m.trouble != "" {
					t.Logf("seed %d: %s", seed, m.trouble)
					return
				}
			}
			t.Error("not noticed in 400 runs")
		})
	}
}
