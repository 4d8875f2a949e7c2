// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"maps"
	"slices"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Place is where a record lies: position Index of the segment that has Sequence in Stream.
type Place struct {
	Stream   string
	Sequence uint64
	Index    int
}

// maxIndex bounds what a source can make the ledger allocate; no segment holds as many records.
const maxIndex = 1 << 16

// PlaceOf returns the place a source names; ok is false when it names none.
func PlaceOf(s *eventv1.Source) (p Place, ok bool) {
	if s.GetStream() == "" || s.GetIndex() >= maxIndex {
		return Place{}, false
	}
	return Place{Stream: s.GetStream(), Sequence: s.GetSequence(), Index: int(s.GetIndex())}, true
}

// Source returns the place as it stands in records and outcomes.
func (p Place) Source() *eventv1.Source {
	return &eventv1.Source{Stream: p.Stream, Sequence: p.Sequence, Index: uint32(p.Index)}
}

// State is what is known of a record.
type State uint8

// States of a record.
const (
	// Open: nobody stored a result; it is to be attempted.
	Open State = iota
	// Deferred: its outcome is stored and leaves recipients, but the record that carries them on is not. That
	// record is written from the outcome, without a further attempt.
	Deferred
	// Settled: its outcome is final for all recipients, or it lives on elsewhere.
	Settled
)

// Ledger is what earlier owners settled at and above their floors.
type Ledger struct {
	floors  map[string]uint64
	streams map[string]*segments
	size    int64
}

// New returns an empty ledger. Places below the floor of their stream are settled without being noted; a stream
// without floor begins at 0.
func New(floors map[string]uint64) *Ledger {
	return &Ledger{floors: floors, streams: make(map[string]*segments)}
}

// Outcome notes a stored outcome; one without a source settles nothing here. All moves must have been noted before,
// so that of the outcomes that leave recipients only those are kept whose record was not moved.
func (l *Ledger) Outcome(o *eventv1.Outcome) {
	p, ok := PlaceOf(o.GetSource())
	if !ok || l.below(p) {
		return
	}
	if !Remains(o) {
		l.settle(p)
		return
	}
	l.entry(p).deferUnlessSettled(p.Index, o)
}

// Moved notes that the record at p lives on in another stream.
func (l *Ledger) Moved(p Place) {
	if l.below(p) {
		return
	}
	l.settle(p)
}

// State returns what is known of the record at p.
func (l *Ledger) State(p Place) State {
	e := l.streams[p.Stream].get(p.Sequence)
	switch {
	case l.below(p) || e.settled(p.Index):
		return Settled
	case e.deferral(p.Index) != nil:
		return Deferred
	default:
		return Open
	}
}

// Deferral returns the outcome from which the record at p is to be carried on, nil unless its state is Deferred.
func (l *Ledger) Deferral(p Place) *eventv1.Outcome {
	return l.streams[p.Stream].get(p.Sequence).deferral(p.Index)
}

// Knows reports whether anything is noted of a segment.
func (l *Ledger) Knows(stream string, sequence uint64) bool {
	return l.streams[stream].get(sequence) != nil
}

// Passed forgets a stream up to and with sequence: its segments have been read, or no longer exist. Sequences must
// not fall from call to call.
func (l *Ledger) Passed(stream string, sequence uint64) {
	if s := l.streams[stream]; s != nil {
		s.dropThrough(sequence, func(e *entry) { l.size -= e.size() })
	}
}

// Forget drops what is noted of one segment: it was copied on as a whole, and that is noted elsewhere.
func (l *Ledger) Forget(stream string, sequence uint64) {
	if e := l.streams[stream].get(sequence); e != nil {
		l.size -= e.size()
		l.streams[stream].drop(sequence)
	}
}

// Reopen forgets that the record at p is settled. A segment without any settled record is forgotten.
func (l *Ledger) Reopen(p Place) {
	e := l.streams[p.Stream].get(p.Sequence)
	if !e.settled(p.Index) {
		return
	}
	e.bits[p.Index/64] &^= 1 << (p.Index % 64)
	if e.empty() {
		l.Forget(p.Stream, p.Sequence)
	}
}

// Noted returns the sequences of a stream of whose segments anything is noted, in rising order.
func (l *Ledger) Noted(stream string) []uint64 {
	if l.streams[stream] == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(l.streams[stream].entries))
}

// Empty reports whether everything noted has been read.
func (l *Ledger) Empty() bool { return l.size == 0 }

// Size returns about how many bytes of memory the ledger takes, without the outcomes it keeps.
func (l *Ledger) Size() int64 { return l.size }

// Remains reports whether an outcome leaves recipients for a further attempt.
func Remains(o *eventv1.Outcome) bool {
	for _, r := range o.GetResults() {
		if r.GetState() == eventv1.RecipientState_RECIPIENT_STATE_DEFERRED {
			return true
		}
	}
	return false
}

func (l *Ledger) settle(p Place) {
	l.size += l.entry(p).settle(p.Index)
}

func (l *Ledger) entry(p Place) *entry {
	s := l.streams[p.Stream]
	if s == nil {
		s = newSegments()
		l.streams[p.Stream] = s
	}
	e := s.get(p.Sequence)
	if e == nil {
		e = &entry{}
		s.put(p.Sequence, e)
		l.size += entryBytes
	}
	return e
}

func (l *Ledger) below(p Place) bool { return p.Sequence < l.floors[p.Stream] }
