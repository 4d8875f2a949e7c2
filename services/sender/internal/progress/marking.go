// SPDX-License-Identifier: Apache-2.0

package progress

import eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"

// Marking says which records may have been delivered by a former owner that did not store their outcome. Every
// record such an owner ever read is settled, or among those it held when it was cut off; its last checkpoint says how
// many of each stream those can be, and it read each stream in order. So in each stream so many of the first unsettled
// records are marked, and nothing stored after it was cut off.
type Marking struct {
	window  int
	streams map[string]*debt
}

type debt struct {
	held int    // records the former owner may have held
	left int    // of those, records still to be marked
	last uint64 // last sequence the former owner can have read
}

// NewMarking returns the marking after the owner that wrote former. last holds, by stream, the last sequence that
// existed when the partition was taken over; a stream without one is not marked. Nothing is owed after a clean owner,
// nor where no owner ever wrote a checkpoint. A checkpoint that does not say how many records of a stream were held is
// taken for its window.
func NewMarking(former *eventv1.Checkpoint, last map[string]uint64) *Marking {
	m := &Marking{streams: make(map[string]*debt)}
	if former == nil || former.GetClean() {
		return m
	}
	m.window = int(former.GetWindow())
	held := make(map[string]int)
	for _, f := range former.GetFloors() {
		if f.Held != nil {
			held[f.GetStream()] = int(f.GetHeld())
		}
	}
	for name, sequence := range last {
		n, said := held[name]
		if !said {
			n = m.window
		}
		if n > 0 {
			m.streams[name] = &debt{held: n, left: n, last: sequence}
		}
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

// Owed returns, by stream, how many records the former owner may have held, as long as one of those it may have delivered
// is not settled. An owner that is stopped earlier is not clean, and hands the debt on with its checkpoint.
func (m *Marking) Owed(floor func(stream string) uint64) map[string]int {
	owed := make(map[string]int, len(m.streams))
	for name, d := range m.streams {
		if floor(name) > d.last {
			delete(m.streams, name)
			continue
		}
		owed[name] = d.held
	}
	return owed
}

// Window returns that of the former owner.
func (m *Marking) Window() int { return m.window }
