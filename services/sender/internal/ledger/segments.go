// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"slices"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// entryBytes is about what an entry without bits takes: its map slot, itself and its place in the order.
const entryBytes = 64

// entry holds one bit for each settled record of a segment, and the outcomes of those that are deferred and not moved.
// A nil entry is that of a segment of which nothing is known.
type entry struct {
	bits      []uint64
	deferrals map[int]*eventv1.Outcome
}

func (e *entry) settled(index int) bool {
	return e != nil && index/64 < len(e.bits) && e.bits[index/64]&(1<<(index%64)) != 0
}

// settle sets the bit and returns by how many bytes the entry has grown.
func (e *entry) settle(index int) int64 {
	delete(e.deferrals, index)
	before := len(e.bits)
	for index/64 >= len(e.bits) {
		e.bits = append(e.bits, 0)
	}
	e.bits[index/64] |= 1 << (index % 64)
	return int64(len(e.bits)-before) * 8
}

func (e *entry) empty() bool {
	return len(e.deferrals) == 0 && !slices.ContainsFunc(e.bits, func(word uint64) bool { return word != 0 })
}

func (e *entry) deferral(index int) *eventv1.Outcome {
	if e == nil {
		return nil
	}
	return e.deferrals[index]
}

func (e *entry) deferUnlessSettled(index int, o *eventv1.Outcome) {
	if e.settled(index) {
		return
	}
	if e.deferrals == nil {
		e.deferrals = make(map[int]*eventv1.Outcome)
	}
	e.deferrals[index] = o
}

func (e *entry) size() int64 { return entryBytes + int64(len(e.bits))*8 }

// segments are the entries of one stream.
type segments struct {
	entries map[uint64]*entry
	order   []uint64 // sorted sequences not yet passed; nil until the first pass
}

func newSegments() *segments { return &segments{entries: make(map[uint64]*entry)} }

func (s *segments) get(sequence uint64) *entry {
	if s == nil {
		return nil
	}
	return s.entries[sequence]
}

func (s *segments) put(sequence uint64, e *entry) {
	s.entries[sequence] = e
	s.order = nil
}

func (s *segments) drop(sequence uint64) {
	delete(s.entries, sequence)
	s.order = nil
}

func (s *segments) dropThrough(sequence uint64, dropped func(*entry)) {
	if s.order == nil {
		s.order = make([]uint64, 0, len(s.entries))
		for seq := range s.entries {
			s.order = append(s.order, seq)
		}
		slices.Sort(s.order)
	}
	for len(s.order) > 0 && s.order[0] <= sequence {
		seq := s.order[0]
		dropped(s.entries[seq])
		delete(s.entries, seq)
		s.order = s.order[1:]
	}
}
