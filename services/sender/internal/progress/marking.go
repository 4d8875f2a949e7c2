// SPDX-License-Identifier: Apache-2.0

package progress

import eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"

// Marking says which records may have been delivered by a former owner that did not store their outcome. Every
// record such an owner ever read is settled, or among the at most window records it held; it read each stream in
// order. So in each stream the first window unsettled records are marked, and nothing stored after it was cut off.
type Marking struct {
	window  int
	streams map[string]*debt
}

type debt struct {
	left int    // records still to be marked
	last uint64 // last sequence the former owner can have read
}

// NewMarking returns the marking after the owner that wrote former. last holds, by stream, the last sequence that
// existed when the partition was taken over; a stream without one is not marked. Nothing is owed after a clean owner,
// nor where no owner ever wrote a checkpoint.
func NewMarking(former *eventv1.Checkpoint, last map[string]uint64) *Marking {
	m := &Marking{streams: make(map[string]*debt)}
	if former == nil || former.GetClean() {
		return m
	}
	m.window = int(former.GetWindow())
	for name, sequence := range last {
		m.streams[name] = &debt{left: m.window, last: sequence}
	}
	return m
}

// Mark reports whether an unsettled record of a segment is to be marked. It is asked once for each unsettled record,
// in the order of each stream.
func (m *Marking) Mark(name string, sequence uint64) bool {
	d := m.streams[name]
	if d == nil || d.left == 0 || sequence > d.last {
		return false
	}
	d.left--
	if d.left == 0 {
		d.last = sequence
	}
	return true
}

// Doubtful reports whether any unsettled record of a segment may be among those still to be marked. Nothing is used up.
func (m *Marking) Doubtful(name string, sequence uint64) bool {
	d := m.streams[name]
	return d != nil && d.left > 0 && sequence <= d.last
}

// Owed returns the window of the former owner as long as one of the records it may have delivered is not settled, and
// 0 from then on. An owner that is stopped earlier is not clean, and hands the debt on with its checkpoint.
func (m *Marking) Owed(floor func(stream string) uint64) int {
	for name, d := range m.streams {
		if floor(name) > d.last {
			delete(m.streams, name)
		}
	}
	if len(m.streams) == 0 {
		return 0
	}
	return m.window
}
