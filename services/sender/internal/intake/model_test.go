// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/progress"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

// The model: logs, fences, and senders that read, attempt and settle with the decisions of this package, of ledger,
// progress and settle: mail spills, with and without a word to its sender, attempts that go on are carried forward, and
// no more is read than a stored checkpoint says. Any step may be the last one of a sender, answers get lost, what is
// settled is purged, and a former owner that does not know that it is one goes on. Nothing may be lost, and whoever gets
// a message twice has an outcome that says so.

type logSegment struct {
	records    []*eventv1.QueuedMail
	outcomes   []*eventv1.Outcome
	checkpoint *eventv1.Checkpoint
	deleted    bool // of PARK
}

// modelLog is one stream of one partition.
type modelLog struct {
	first    uint64 // what lies below is purged
	segments []logSegment
	owner    *modelSender // whom the fence lets append; MAIL has none
}

func (l *modelLog) last() uint64                  { return uint64(len(l.segments)) }
func (l *modelLog) at(sequence uint64) logSegment { return l.segments[sequence-1] }

func (l *modelLog) append(s logSegment) uint64 {
	l.segments = append(l.segments, s)
	return l.last()
}

// flight is a record a sender holds.
type flight struct {
	segment *progress.Segment
	place   ledger.Place
	mail    *eventv1.QueuedMail
	outcome *eventv1.Outcome    // to be stored next
	move    *eventv1.QueuedMail // to be stored next, or after outcome
	copied  *eventv1.QueuedMail // to be stored before anything else: its attempt goes on
	copyAt  ledger.Place        // where it was stored
	park    bool                // move goes to PARK
	unread  bool                // place is that of a copy that is not read
	begun   bool                // a transaction was started, while the lease was confirmed
	lost    bool                // what it was to store is stored, and the answer was lost
}

// attempting reports a transaction that goes on.
func (f *flight) attempting() bool { return f.begun && f.outcome == nil && f.move == nil }

type modelSender struct {
	id    int
	desk  *Desk
	held  []*flight
	steps []func(*model, *modelSender) bool // of the takeover, that are left
	found *eventv1.Checkpoint
	heard []func() // checkpoints that are stored, whose answers are on their way
	ops   *senderOperators
}

// hear lets the answer about the oldest checkpoint on its way arrive.
func (s *modelSender) hear() {
	if len(s.heard) > 0 {
		s.heard[0]()
		s.heard = s.heard[1:]
	}
}

// doubts reports whether a segment may be a copy of a record in an attempt here, the answer about which was lost.
func (s *modelSender) doubts(stream string, seq uint64) bool {
	return slices.ContainsFunc(s.held, func(f *flight) bool {
		return f.copied != nil && f.lost && f.copyAt.Stream == stream && f.copyAt.Sequence <= seq
	})
}

// breach is a rule that is broken on purpose.
type breach struct {
	checkpoint func(c *eventv1.Checkpoint, d *Desk, clean bool)
	unmarked   bool   // a record that is carried forward is not marked
	stale      bool   // an outcome names the place its record was carried from
	forgotten  bool   // a checkpoint passes what was carried forward
	heedless   bool   // more is read than a checkpoint says
	eager      bool   // a copy is read though the answer about it was lost
	from       uint64 // the seed from which it is looked for, where it takes a rare order of events
	early      bool   // a record counts as spilled before the copy is stored
	operators  string // a rule of what operators' changes need
}

type model struct {
	t       *testing.T
	rnd     *rand.Rand
	logs    map[string]*modelLog
	senders []*modelSender
	lease   *modelSender
	made    int
	// What the world outside knows.
	accepted  map[string]bool
	delivered map[string]int
	final     map[string]bool
	marked    map[string]bool
	breach    breach
	trouble   string
	ops       *modelOperators // nil: nobody changes anything
}

var modelMinutes = []int{0, 1}

const modelWindow = 6

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), logs: make(map[string]*modelLog),
		accepted: make(map[string]bool), delivered: make(map[string]int), final: make(map[string]bool), marked: make(map[string]bool),
		breach: breach{checkpoint: func(*eventv1.Checkpoint, *Desk, bool) {}},
	}
	for _, stream := range append(Reading(modelMinutes), bus.StreamOutcome, bus.StreamPark) {
		m.logs[stream] = &modelLog{first: 1}
	}
	return m
}

func (m *model) submit() {
	var mails []*eventv1.QueuedMail
	for range 1 + m.rnd.IntN(3) {
		m.made++
		r := record(fmt.Sprintf("m%d", m.made))
		r.Envelope.Recipients = nil
		for i := range 1 + m.rnd.IntN(2) {
			address := fmt.Sprintf("%s-%d@example.test", r.GetMessageId(), i)
			m.accepted[address] = true
			r.Envelope.Recipients = append(r.Envelope.Recipients, &eventv1.Recipient{Address: address})
		}
		mails = append(mails, r)
	}
	m.logs[bus.StreamMail].append(logSegment{records: mails})
}

// takeover makes a sender whose takeover is done in single steps: fences, fold, first checkpoint.
func (m *model) takeover() *modelSender {
	s := &modelSender{id: len(m.senders)}
	s.steps = []func(*model, *modelSender) bool{(*model).fenceOutcome}
	if m.ops != nil {
		s.steps = append(s.steps, (*model).fencePark)
	}
	for _, minutes := range modelMinutes {
		s.steps = append(s.steps, func(m *model, s *modelSender) bool {
			l := m.logs[bus.RetryStream(minutes)]
			l.owner = s
			l.append(logSegment{})
			return true
		})
	}
	s.steps = append(s.steps, (*model).fold, func(m *model, s *modelSender) bool { return m.store(s, nil, false) })
	m.senders = append(m.senders, s)
	m.lease = s
	return s
}

func (m *model) newest() (c *eventv1.Checkpoint, at uint64) {
	l := m.logs[bus.StreamOutcome]
	for seq := l.last(); seq >= l.first; seq-- {
		if c := l.at(seq).checkpoint; c != nil {
			return c, seq
		}
	}
	return nil, 0
}

func (m *model) fenceOutcome(s *modelSender) bool {
	l := m.logs[bus.StreamOutcome]
	s.found, _ = m.newest()
	l.owner = s
	carried := proto.CloneOf(s.found)
	if carried != nil {
		carried.Clean = false
	}
	l.append(logSegment{checkpoint: carried})
	return true
}

func (m *model) fold(s *modelSender) bool {
	past := ledger.New(progress.Floors(s.found.GetFloors()))
	begin := progress.Floors(s.found.GetFold())
	last := make(map[string]uint64)
	for _, stream := range Reading(modelMinutes) {
		last[stream] = m.logs[stream].last()
	}
	for _, stream := range Folded(modelMinutes) {
		l := m.logs[stream]
		for seq := max(begin[stream], l.first); seq <= l.last(); seq++ {
			for _, r := range l.at(seq).records {
				for _, source := range append([]*eventv1.Source{r.GetSource()}, r.GetSettles()...) {
					if p, ok := ledger.PlaceOf(source); ok && !l.at(seq).deleted {
						past.Moved(p)
					}
				}
			}
			for _, o := range l.at(seq).outcomes {
				past.Outcome(o)
			}
		}
	}
	s.desk = New(Options{Minutes: modelMinutes, Window: modelWindow, Former: s.found, Last: last, Ledger: past, Rules: m.rules(s)})
	for _, stream := range Folded(modelMinutes) {
		s.desk.Reached(stream, m.logs[stream].last())
	}
	return true
}

// store appends outcomes with a checkpoint. It is refused when another owner has fenced the stream off; then the sender
// finds out and ends.
func (m *model) store(s *modelSender, outcomes []*eventv1.Outcome, clean bool) bool {
	l := m.logs[bus.StreamOutcome]
	if l.owner != s {
		m.end(s)
		return false
	}
	c := s.desk.Checkpoint(server, clean, nil)
	m.breach.checkpoint(c, s.desk, clean)
	s.desk.Offered(c)
	seq := l.append(logSegment{outcomes: outcomes, checkpoint: c})
	s.heard = append(s.heard, func() {
		s.desk.Reached(bus.StreamOutcome, seq)
		s.desk.Stored(c, seq)
	})
	if len(s.heard) > 2 || m.rnd.IntN(4) != 0 {
		s.hear()
	}
	for _, o := range outcomes {
		for _, r := range o.GetResults() {
			address := r.GetRecipient().GetAddress()
			m.final[address] = m.final[address] || r.GetState() == delivered || m.ops.noted(r)
			m.marked[address] = m.marked[address] || r.GetPossibleDuplicate()
		}
	}
	return true
}

func (m *model) end(s *modelSender) {
	m.senders = slices.DeleteFunc(m.senders, func(other *modelSender) bool { return other == s })
}

// read takes a segment in.
func (m *model) read(s *modelSender) bool {
	streams := Reading(modelMinutes)
	stream := streams[m.rnd.IntN(len(streams))]
	l := m.logs[stream]
	seq := max(s.desk.Next(stream), l.first)
	if seq > l.last() {
		s.desk.Idle(stream, l.last(), l.last())
		return false
	}
	if s.doubts(stream, seq) && !m.breach.eager || s.ops.claims(stream, seq) {
		return false
	}
	d := segment(m.t, stream, seq, l.at(seq).records...)
	switch ok, unsaid := s.desk.Room(stream, d.Segment.Len(), 1, 1<<30, 1<<30); {
	case unsaid && !m.breach.heedless:
		return m.store(s, nil, false)
	case !ok && !unsaid:
		return false
	}
	g, todo := s.desk.Read(d, moment)
	for _, disposition := range todo {
		f := &flight{segment: g, place: disposition.Place, mail: disposition.Mail}
		switch disposition.Kind {
		case Attempt:
		case Ours:
			at := slices.IndexFunc(s.held, func(f *flight) bool { return f.unread && f.place == disposition.Place })
			s.held[at].segment, s.held[at].unread = g, false
			continue
		case MoveOn:
			f.move = settle.Retry(f.mail, f.place, disposition.Outcome, due.Wait{})
		case Aside:
			f.setAside(disposition.Decision)
		default:
			m.t.Fatalf("disposition %d", disposition.Kind)
		}
		s.held = append(s.held, f)
	}
	return true
}

// attempt delivers some recipients. From here on they have the message, whatever becomes of the sender.
func (m *model) attempt(s *modelSender, f *flight) {
	o := settle.FromRecord(f.mail, f.place, time.Time{})
	o.Attempt = &eventv1.Attempt{Number: f.mail.GetAttempt() + 1}
	for _, r := range f.mail.GetEnvelope().GetRecipients() {
		result := &eventv1.RecipientResult{Recipient: r, State: delivered, PossibleDuplicate: f.mail.GetPossibleDuplicate()}
		if m.rnd.IntN(2) == 0 && f.mail.GetAttempt() < 3 {
			result.State = deferred
		} else {
			m.delivered[r.GetAddress()]++
		}
		o.Results = append(o.Results, result)
	}
	f.outcome = o
	if by := s.ops.cancelled(f.mail); by != nil {
		settle.Cancel(o, by)
	}
	if ledger.Remains(o) {
		f.move = settle.Retry(f.mail, f.place, o, due.Wait{})
	}
}

// step lets a sender go one step further with one of its records.
func (m *model) step(s *modelSender) bool {
	if len(s.steps) > 0 {
		if s.steps[0](m, s) && len(s.steps) > 0 {
			s.steps = s.steps[1:]
		}
		return true
	}
	if m.rnd.IntN(4) == 0 {
		s.hear()
	}
	if m.ops != nil && m.rnd.IntN(3) == 0 && m.operate(s) {
		return true
	}
	if len(s.held) == 0 || m.rnd.IntN(3) == 0 {
		return m.read(s)
	}
	f := s.held[m.rnd.IntN(len(s.held))]
	switch {
	case f.attempting() && (f.copied != nil || f.unread) && m.rnd.IntN(3) == 0:
		m.attempt(s, f) // it ends while its copy is made, or before that is read
	case f.lost: // asked again, it is found
		f.lost = false
		m.answered(s, f)
	case f.copied != nil:
		at, ok := m.keep(s, 1, f.copied)
		f.copyAt = at
		if f.lost = ok && m.rnd.IntN(4) == 0; ok && !f.lost {
			m.answered(s, f)
		}
	case f.attempting() && !f.unread && m.rnd.IntN(3) == 0: // it goes on for long
		f.copied = settle.Carried(f.mail, f.place, due.Wait{})
		f.copied.PossibleDuplicate = f.copied.PossibleDuplicate && (!m.breach.unmarked || f.mail.GetPossibleDuplicate())
	case f.outcome != nil:
		if !m.store(s, []*eventv1.Outcome{f.outcome}, false) {
			return true
		}
		if f.lost = m.rnd.IntN(4) == 0; !f.lost {
			m.answered(s, f)
		}
	case f.move != nil:
		ok := m.moveOn(s, f, modelMinutes[m.rnd.IntN(len(modelMinutes))])
		if f.lost = ok && m.rnd.IntN(4) == 0; ok && !f.lost {
			m.answered(s, f)
		}
	case !f.begun && m.rnd.IntN(4) == 0:
		m.spill(s, f)
	case f.begun:
		m.attempt(s, f)
	case s.ops.aside(f): // operators have changed something since it was read
	default: // only who has the lease starts a transaction; it may lose it before the message is out
		f.begun = m.lease == s
	}
	return true
}

// keep appends a record to a RETRY stream. It reports false when another owner has fenced the stream off: the sender ends.
func (m *model) keep(s *modelSender, minutes int, r *eventv1.QueuedMail) (at ledger.Place, ok bool) {
	stream := bus.RetryStream(minutes)
	l := m.logs[stream]
	if l.owner != s {
		m.end(s)
		return ledger.Place{}, false
	}
	seq := l.append(logSegment{records: []*eventv1.QueuedMail{r}})
	s.desk.Reached(stream, seq)
	return ledger.Place{Stream: stream, Sequence: seq}, true
}

// spill lets a record wait without an attempt; its site may be down, and its sender may have to be told of the delay.
func (m *model) spill(s *modelSender, f *flight) {
	w := due.Wait{Minutes: 1, Pause: time.Minute}
	f.move = settle.Spilled(f.mail, f.place, &eventv1.Failure{Reason: "connect"}, w)
	if m.rnd.IntN(3) == 0 {
		f.outcome = settle.Waiting(f.mail, f.place, settle.Delay{Pause: time.Minute, Notice: func(*eventv1.Recipient) bool { return true }})
		f.move = settle.Retry(f.mail, f.place, f.outcome, w)
	} else if m.breach.early {
		s.desk.Settled(f.segment)
		f.segment = nil
	}
}

// answered notes that what a record was to store is stored.
func (m *model) answered(s *modelSender, f *flight) {
	if f.copied != nil {
		m.carried(s, f)
		return
	}
	if f.outcome != nil {
		f.outcome = nil
		if f.move != nil {
			return
		}
	}
	f.move = nil
	switch {
	case f.unread:
		s.desk.Concluded(f.place)
	case f.segment != nil:
		s.desk.Settled(f.segment)
	}
	s.held = slices.DeleteFunc(s.held, func(other *flight) bool { return other == f })
}

// carried notes that a record whose attempt goes on, or has just ended, lives on in its copy.
func (m *model) carried(s *modelSender, f *flight) {
	if m.breach.forgotten {
		s.desk.carried[f.copyAt] = false
		s.desk.tracker.Settled(f.segment)
	} else {
		s.desk.Carried(f.segment, f.copyAt)
	}
	f.place, f.unread, f.segment, f.copied = f.copyAt, true, nil, nil
	if f.outcome != nil && !m.breach.stale {
		f.outcome.Source = f.place.Source()
		if f.move != nil {
			f.move.Source = f.place.Source()
		}
	}
}

// stop drains a sender: what is attempted is settled, what waits is left, and the last checkpoint is clean.
func (m *model) stop(s *modelSender) {
	for _, f := range slices.Clone(s.held) {
		if f.attempting() && m.rnd.IntN(2) == 0 {
			m.attempt(s, f) // the others are given up before the message is out
		}
		if f.outcome == nil && f.move == nil && f.copied == nil {
			continue
		}
		for slices.Contains(s.held, f) && slices.Contains(m.senders, s) {
			if f.lost {
				f.lost = false
				m.answered(s, f)
				if f.outcome == nil && f.move == nil {
					break
				}
				continue
			}
			var ok bool
			switch {
			case f.copied != nil:
				f.copyAt, ok = m.keep(s, 1, f.copied)
			case f.outcome != nil:
				ok = m.store(s, []*eventv1.Outcome{f.outcome}, false)
			default:
				ok = m.moveOn(s, f, 0)
			}
			if !ok {
				return
			}
			m.answered(s, f)
			if f.outcome == nil && f.move == nil {
				break // an attempt that was carried forward and given up
			}
		}
	}
	if slices.Contains(m.senders, s) {
		m.store(s, nil, true)
		m.end(s)
	}
}

// purge removes what the newest checkpoint says is settled, and outcomes that no fold needs.
func (m *model) purge() {
	c, at := m.newest()
	for stream, floor := range progress.Floors(c.GetFloors()) {
		m.logs[stream].first = max(m.logs[stream].first, floor)
	}
	if c != nil {
		l := m.logs[bus.StreamOutcome]
		l.first = max(l.first, min(at, progress.Floors(c.GetFold())[bus.StreamOutcome]))
	}
}

// run lets everything happen in an order that the seed decides; so does how often senders are killed, stopped and taken
// over from.
func (m *model) run(steps int) {
	kill, stop, take := m.rnd.IntN(4), m.rnd.IntN(4), m.rnd.IntN(4)
	for range steps {
		n := m.rnd.IntN(100)
		switch {
		case n < 6:
			m.submit()
			m.change()
		case n < 12:
			m.purge()
		case n < 12+kill && len(m.senders) > 0:
			m.end(m.senders[m.rnd.IntN(len(m.senders))])
		case n < 12+kill+stop && len(m.senders) > 0:
			if s := m.senders[len(m.senders)-1]; len(s.steps) == 0 {
				m.stop(s)
			}
		case n < 12+kill+stop+take || len(m.senders) == 0: // the former owner may not know, and go on
			m.takeover()
		default:
			m.step(m.senders[m.rnd.IntN(len(m.senders))])
		}
	}
	// In the end one sender does what is left.
	m.takeBack()
	s := m.takeover()
	m.senders = []*modelSender{s}
	for range 200 * (m.made + 10) {
		m.step(s)
		if m.rnd.IntN(20) == 0 {
			m.purge()
		}
	}
}

func (m *model) check() {
	for address := range m.accepted {
		if m.ops.told(address) && (m.delivered[address] == 0 || m.marked[address]) {
			continue // cancelled; if it was delivered before, that was in doubt and is said so
		}
		if m.delivered[address] == 0 || !m.final[address] {
			m.trouble = "lost: " + address
			return
		}
		if m.delivered[address] > 1 && !m.marked[address] {
			m.trouble = fmt.Sprintf("%s has it %d times and no outcome is marked", address, m.delivered[address])
			return
		}
	}
}

func TestQ08_Q09_NothingIsLostOrSentTwiceUnmarked(t *testing.T) {
	first, seeds := uint64(0), uint64(200)
	if testing.Short() || underRace {
		seeds = 30
	}
	// MODEL_SEEDS=4000-8000 runs those schedules.
	if from, to, ok := strings.Cut(os.Getenv("MODEL_SEEDS"), "-"); ok {
		first, _ = strconv.ParseUint(from, 10, 64)
		last, err := strconv.ParseUint(to, 10, 64)
		if err != nil || last <= first {
			t.Fatalf("MODEL_SEEDS: %v", err)
		}
		seeds = last - first
	}
	twice := 0
	for seed := first; seed < first+seeds; seed++ {
		m := newModel(t, seed)
		m.run(600)
		if m.check(); m.trouble != "" {
			t.Fatalf("seed %d: %s", seed, m.trouble)
		}
		for _, n := range m.delivered {
			if n > 1 {
				twice++
			}
		}
	}
	if twice == 0 {
		t.Error("the model never delivers twice, so it proves nothing about marks")
	}
}

// The model is worth something only if it notices what is forbidden.
func TestTheModelNoticesBrokenRules(t *testing.T) {
	type checkpoint = func(c *eventv1.Checkpoint, d *Desk, clean bool)
	rules := map[string]breach{
		"a record that is carried forward is not marked":       {unmarked: true},
		"an outcome names the place it was carried from":       {stale: true},
		"a checkpoint passes what was carried forward":         {forgotten: true},
		"more is read than a checkpoint says":                  {heedless: true},
		"a copy is read before the answer about it":            {eager: true, from: 6900},
		"a record counts as spilled before its copy is stored": {early: true},
	}
	for name, broken := range map[string]checkpoint{
		"an owner that was killed counts as clean": func(c *eventv1.Checkpoint, _ *Desk, _ bool) { c.Clean = true },
		"an owner is clean though marks are owed":  func(c *eventv1.Checkpoint, _ *Desk, clean bool) { c.Clean = clean },
		"nothing is marked": func(c *eventv1.Checkpoint, _ *Desk, _ bool) {
			for _, f := range c.GetFloors() {
				f.Held = new(uint32(0))
			}
		},
		"of each stream one less is marked than was held": func(c *eventv1.Checkpoint, _ *Desk, _ bool) {
			for _, f := range c.GetFloors() {
				f.Held = new(max(f.GetHeld(), 1) - 1)
			}
		},
		"a floor passes an unsettled segment": func(c *eventv1.Checkpoint, _ *Desk, _ bool) {
			for _, f := range c.GetFloors() {
				f.Sequence++
			}
		},
		"the floor of a RETRY stream overtakes the fold": func(c *eventv1.Checkpoint, d *Desk, _ bool) {
			for _, f := range c.GetFloors() {
				f.Sequence = d.tracker.Floor(f.GetStream())
			}
		},
		"nothing is folded": func(c *eventv1.Checkpoint, _ *Desk, _ bool) {
			for _, f := range c.GetFold() {
				f.Sequence += 1000
			}
		},
	} {
		rules[name] = breach{checkpoint: broken}
	}
	for name, broken := range rules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := broken.from; seed < broken.from+400; seed++ {
				m := newModel(t, seed)
				if broken.checkpoint == nil {
					broken.checkpoint = m.breach.checkpoint
				}
				m.breach = broken
				m.run(600)
				if m.check(); m.trouble != "" {
					return
				}
			}
			t.Error("not noticed in 400 runs")
		})
	}
}
