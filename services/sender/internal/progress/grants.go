// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"slices"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// headroom is how many records of a stream that flows may be read before a further checkpoint has to say so.
const headroom = 64

// grants bound how many records of each stream are held. A next owner has to mark what this one may have delivered, and
// all it can go by is the last checkpoint: so that says for each stream how many records are held at most, together
// never more than the window, and an owner holds no more of a stream than any checkpoint of its allows that may be the
// last one stored. At most a window of records is marked after one that was cut off, however many streams there are.
type grants struct {
	wanted  map[string]int  // records for which there is room, but no word in a checkpoint
	flowing map[string]bool // streams of which something was read since the last checkpoint
	last    *eventv1.Checkpoint
	lastAt  uint64                // sequence in OUTCOME of the last one stored
	offered []*eventv1.Checkpoint // on their way; each may come to lie behind last
}

// budget returns how many records of each stream the next checkpoint lets be held.
func (t *Tracker) budget() map[string]int {
	free := t.most - t.held
	budget := make(map[string]int, len(t.reading))
	for name, s := range t.reading {
		budget[name] = s.held
	}
	for _, name := range t.names {
		if n := t.grants.wanted[name]; n > 0 && (n <= free || t.held == 0 && free == t.most) {
			budget[name] += n
			free -= n
		}
	}
	for _, name := range t.names {
		if t.grants.flowing[name] || name == t.always {
			n := max(0, min(headroom, free))
			budget[name] += n
			free -= n
		}
	}
	return budget
}

// Granted reports whether so many more records of a stream may be held by what is known to be stored, and asks the next
// checkpoint for it otherwise.
func (t *Tracker) Granted(name string, records int) bool {
	want := t.reading[name].held + records
	granted := t.grants.last != nil && want <= heldIn(t.grants.last, name)
	for _, c := range t.grants.offered {
		granted = granted && want <= heldIn(c, name)
	}
	if !granted {
		t.grants.wanted[name] = records
	}
	return granted
}

// Offered notes that a checkpoint of this tracker is about to be stored; Stored notes that it was, at a sequence of
// OUTCOME. Several may be on their way.
func (t *Tracker) Offered(c *eventv1.Checkpoint) {
	t.grants.offered = append(t.grants.offered, c)
	clear(t.grants.flowing)
}

// Stored is told of each checkpoint that was offered and stored.
func (t *Tracker) Stored(c *eventv1.Checkpoint, sequence uint64) {
	t.grants.offered = slices.DeleteFunc(t.grants.offered, func(o *eventv1.Checkpoint) bool { return o == c })
	if sequence > t.grants.lastAt {
		t.grants.last, t.grants.lastAt = c, sequence
	}
}

func heldIn(c *eventv1.Checkpoint, name string) int {
	for _, f := range c.GetFloors() {
		if f.GetStream() == name {
			return int(f.GetHeld())
		}
	}
	return 0
}
