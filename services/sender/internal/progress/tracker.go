// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"container/list"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Tracker follows one partition through one tenure.
type Tracker struct {
	most    int // the window there is
	window  int // most records ever held, at least most
	names   []string
	always  string             // the stream that always has headroom: the first of reading, MAIL
	reading map[string]*stream // by name: MAIL and the RETRY streams
	grants  grants
	folded  []string // OUTCOME, PARK and the RETRY streams, sorted
	// reached is, by position in folded, a sequence the stream is known to have reached. Whatever this owner stores for
	// a segment it reads now lies above.
	reached []uint64
	// inherited is where the former owner's checkpoint lets the fold begin. It stays in force while anything is unread,
	// or at or above a floor, of which a former owner stored something: a later owner will read it again, and has to
	// find what was stored. nil when it has been paid off.
	inherited  []uint64
	pastUnread bool
	oldest     *list.List // of *Segment with current fold positions, in the order they were read
	pins       []*Pin     // in the order they were made
	ahead      []ahead    // copies that lie unread though their records are in work here, or settled, in the order they were stored
	held       int
	bytes      int64
}

type stream struct {
	next      uint64     // first sequence not yet read
	records   int        // that were open when they were read
	unsettled *list.List // of *Segment, in order of sequence
	held      int
	bytes     int64
	past      uint64 // last segment read of which a former owner stored something
	cost      int64  // what all segments read so far would take in a ledger
}

// Segment is a segment that was read and has records left to settle.
type Segment struct {
	name     string
	sequence uint64
	open     int
	before   int // stream.records before it was read
	bytes    int64
	readAt   time.Time
	fold     []uint64
	cost     int64 // stream.cost before it was read
	inStream *list.Element
	inOldest *list.Element
}

// New returns a tracker that goes on from the checkpoint of the former owner; nil means that there was none and
// everything is read from the start. reading names the streams that are read, folded those that a fold reads, and
// window is the number of records this owner holds at most.
func New(reading, folded []string, window int, former *eventv1.Checkpoint) *Tracker {
	t := &Tracker{
		most: window, window: window, names: slices.Sorted(slices.Values(reading)), always: reading[0],
		grants:     grants{wanted: make(map[string]int), flowing: make(map[string]bool)},
		reading:    make(map[string]*stream, len(reading)),
		folded:     slices.Sorted(slices.Values(folded)),
		pastUnread: true,
		oldest:     list.New(),
	}
	floors := Floors(former.GetFloors())
	for _, name := range reading {
		t.reading[name] = &stream{next: max(floors[name], 1), unsettled: list.New()}
	}
	begin := Floors(former.GetFold())
	t.reached = make([]uint64, len(t.folded))
	t.inherited = make([]uint64, len(t.folded))
	for i, name := range t.folded {
		t.inherited[i] = max(begin[name], 1)
	}
	return t
}

// Floors returns a checkpoint's floors by stream.
func Floors(list []*eventv1.Floor) map[string]uint64 {
	floors := make(map[string]uint64, len(list))
	for _, f := range list {
		floors[f.GetStream()] = f.GetSequence()
	}
	return floors
}

// Reached notes that a folded stream has stored a message at sequence, whoever stored it.
func (t *Tracker) Reached(name string, sequence uint64) {
	if i, ok := slices.BinarySearch(t.folded, name); ok {
		t.reached[i] = max(t.reached[i], sequence)
	}
}

// Next returns the first sequence of a stream that was not read yet.
func (t *Tracker) Next(name string) uint64 { return t.reading[name].next }

// Read notes that a segment was read at a moment of the server's clock. It holds records in all, open of them are not
// settled, bytes is the memory it takes while one of them is open, and past says that a former owner stored something
// for one of its records. It returns nil when nothing is open. Segments of one stream come in rising order.
func (t *Tracker) Read(name string, sequence uint64, records, open int, bytes int64, past bool, at time.Time) *Segment {
	s := t.reading[name]
	s.next = sequence + 1
	t.grants.flowing[name] = true
	delete(t.grants.wanted, name)
	if past {
		s.past = sequence
	}
	before := s.cost
	s.cost += ledgerCost(records)
	if open == 0 {
		t.payOff()
		return nil
	}
	g := &Segment{name: name, sequence: sequence, open: open, bytes: bytes, readAt: at, cost: before, before: s.records}
	g.fold = slices.Clone(t.reached)
	g.inStream = s.unsettled.PushBack(g)
	g.inOldest = t.oldest.PushBack(g)
	s.records += open
	s.held += open
	s.bytes += bytes
	t.held += open
	t.bytes += bytes
	t.window = max(t.window, t.held)
	return g
}

// Settled notes that one more record of a segment is settled, and reports whether that was the last.
func (t *Tracker) Settled(g *Segment) bool {
	if g.open == 0 {
		panic("progress: a record was settled twice")
	}
	s := t.reading[g.name]
	g.open--
	s.held--
	t.held--
	if g.open > 0 {
		return false
	}
	s.unsettled.Remove(g.inStream)
	t.oldest.Remove(g.inOldest)
	s.bytes -= g.bytes
	t.bytes -= g.bytes
	t.payOff()
	return true
}

// PastRead notes that nothing is left unread of which a former owner stored something.
func (t *Tracker) PastRead() {
	t.pastUnread = false
	t.payOff()
}

func (t *Tracker) payOff() {
	if t.inherited == nil || t.pastUnread {
		return
	}
	for name, s := range t.reading {
		if s.past > 0 && t.Floor(name) <= s.past {
			return
		}
	}
	t.inherited = nil
}

// Pin keeps the fold of a later owner from beginning above what is stored from now on, until Unpin: as a segment that was
// read does, but for what is copied on without being read.
type Pin struct{ fold []uint64 }

// Pin makes a pin.
func (t *Tracker) Pin() *Pin {
	p := &Pin{fold: slices.Clone(t.reached)}
	t.pins = append(t.pins, p)
	return p
}

// Unpin takes a pin back.
func (t *Tracker) Unpin(p *Pin) {
	t.pins = slices.DeleteFunc(t.pins, func(other *Pin) bool { return other == p })
}

// ahead is a copy this owner has stored of a record that is in an attempt, and not read.
type ahead struct {
	name     string
	sequence uint64
	fold     []uint64
}

// Ahead notes that this owner has stored a copy at sequence of a stream, of a record that goes on being attempted here.
// What it stores for that copy from now on must be found by any later owner that reads it: no fold begins later, until
// the floor of the stream has passed the copy. They are all copied to one stream.
func (t *Tracker) Ahead(name string, sequence uint64) {
	t.ahead = append(t.ahead, ahead{name: name, sequence: sequence, fold: slices.Clone(t.reached)})
}

// Passed notes that the partition has nothing unread in a stream below sequence.
func (t *Tracker) Passed(name string, sequence uint64) {
	s := t.reading[name]
	s.next = max(s.next, sequence)
}

// Floor returns the first sequence of a stream that is not settled.
func (t *Tracker) Floor(name string) uint64 {
	s := t.reading[name]
	if front := s.unsettled.Front(); front != nil {
		return front.Value.(*Segment).sequence
	}
	return s.next
}

// Held returns how many records were read and are not settled, and the bytes their segments take.
func (t *Tracker) Held() (records int, bytes int64) { return t.held, t.bytes }

// HeldOf returns the same of one stream.
func (t *Tracker) HeldOf(name string) (records int, bytes int64) {
	s := t.reading[name]
	return s.held, s.bytes
}

// Oldest returns when the oldest segment with an open record was read; ok is false when there is none.
func (t *Tracker) Oldest() (at time.Time, ok bool) {
	front := t.oldest.Front()
	if front == nil {
		return time.Time{}, false
	}
	return front.Value.(*Segment).readAt, true
}

// Stragglers returns the segments that were read at or before old, and those, read at or before young, that hold their
// stream's floor back by more than half the window: of what was read after them so much is settled. The oldest of a
// stream come first.
func (t *Tracker) Stragglers(old, young time.Time) []*Segment {
	var found []*Segment
	for e := t.oldest.Front(); e != nil; e = e.Next() {
		g := e.Value.(*Segment)
		if g.readAt.After(old) {
			break
		}
		found = append(found, g)
	}
	for _, name := range t.names {
		s := t.reading[name]
		unsettled := s.held // in g and after it
		for e := s.unsettled.Front(); e != nil; e = e.Next() {
			g := e.Value.(*Segment)
			if g.readAt.After(young) || (s.records-g.before)-unsettled <= t.most/2 {
				break
			}
			if g.readAt.After(old) {
				found = append(found, g)
			}
			unsettled -= g.open
		}
	}
	return found
}

// Span returns about how many bytes the ledger of an owner would take that took over now: every segment between a
// floor and what was read last may need an entry.
func (t *Tracker) Span() int64 {
	var span int64
	for _, s := range t.reading {
		if front := s.unsettled.Front(); front != nil {
			span += s.cost - front.Value.(*Segment).cost
		}
	}
	return span
}

// Checkpoint returns what a later owner needs: floors, where its fold begins, and the window. Owner, revision and
// clean are for the caller to add. now is the server's clock.
func (t *Tracker) Checkpoint(now time.Time) *eventv1.Checkpoint {
	fold := t.foldPositions()
	c := &eventv1.Checkpoint{Window: uint32(t.window), FoldFrom: timestamppb.New(now)}
	if at, ok := t.Oldest(); ok {
		c.FoldFrom = timestamppb.New(at)
	}
	begin := make(map[string]uint64, len(t.folded))
	for i, name := range t.folded {
		begin[name] = fold[i]
		c.Fold = append(c.Fold, &eventv1.Floor{Stream: name, Sequence: fold[i]})
	}
	held := t.budget()
	for _, name := range t.names {
		floor := t.Floor(name)
		// A copy in a RETRY stream is the evidence that its source was moved. It must not be purged while a fold may
		// still read it, so the floor of such a stream never overtakes the fold.
		if at, ok := begin[name]; ok {
			floor = min(floor, at)
		}
		c.Floors = append(c.Floors, &eventv1.Floor{Stream: name, Sequence: floor, Held: new(uint32(held[name]))})
	}
	return c
}

// foldPositions returns the first sequences a fold has to read, by position in folded.
func (t *Tracker) foldPositions() []uint64 {
	if t.inherited != nil {
		return t.inherited
	}
	for len(t.ahead) > 0 && t.Floor(t.ahead[0].name) > t.ahead[0].sequence {
		t.ahead = t.ahead[1:]
	}
	first := make([]uint64, len(t.reached))
	for i, sequence := range t.reached {
		if front := t.oldest.Front(); front != nil {
			sequence = min(sequence, front.Value.(*Segment).fold[i])
		}
		if len(t.ahead) > 0 {
			sequence = min(sequence, t.ahead[0].fold[i])
		}
		first[i] = sequence + 1
		if len(t.pins) > 0 {
			first[i] = min(first[i], t.pins[0].fold[i]+1)
		}
	}
	return first
}

// ledgerCost is about what a segment takes in a ledger.
func ledgerCost(records int) int64 { return 64 + int64(records+63)/64*8 }
