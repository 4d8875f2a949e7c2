// SPDX-License-Identifier: Apache-2.0

package recurrence

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/postrider/postrider/services/gateway/internal/loopdetect/fingerprint"
)

const (
	// Window is how long a message counts.
	Window = time.Hour
	// slotLength is how exactly ordinary messages are dated: they count for an hour, or up to a slot less.
	slotLength = 10 * time.Minute
	slots      = int64(Window / slotLength)
	// maxPrints bounds the table (L-06): two generations, each of half as many.
	maxPrints = 1_000_000
)

// slotOf is the number of the slot of a time.
func slotOf(t time.Time) int64 { return t.Unix() / int64(slotLength/time.Second) }

// tally is what a print came to in the last slots; counts[n % slots] is that of slot n.
type tally struct {
	last   int64 // newest slot
	counts [slots]uint16
}

// moveTo empties the slots that ran out.
func (t *tally) moveTo(slot int64) {
	if slot <= t.last {
		return // a clock that was set back counts on in the newest slot
	}
	for n := max(t.last+1, slot-slots+1); n <= slot; n++ {
		t.counts[n%slots] = 0
	}
	t.last = slot
}

func (t *tally) sum() int {
	sum := 0
	for _, n := range t.counts {
		sum += int(n)
	}
	return sum
}

// table counts prints in memory. The newer generation takes what comes; when it is full or a window old, it becomes the
// older one, which is forgotten the next time.
type table struct {
	mu           sync.Mutex
	most         int // of one generation
	newer, older map[uint64]tally
	since        time.Time
}

func newTable(most int) *table {
	return &table{most: most / 2, newer: map[uint64]tally{}, older: map[uint64]tally{}}
}

// keyOf is enough of a print to tell a million apart.
func keyOf(p fingerprint.Print) uint64 { return binary.BigEndian.Uint64(p[:]) }

// add changes a print's count by n, and returns what it came to within the window.
func (t *table) add(p fingerprint.Print, at time.Time, n int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := keyOf(p)
	entry, known := t.newer[key]
	if !known {
		t.turn(at)
		entry = t.older[key]
		delete(t.older, key)
	}
	entry.moveTo(slotOf(at))
	count := &entry.counts[entry.last%slots]
	*count = uint16(min(max(int(*count)+n, 0), 1<<16-1))
	t.newer[key] = entry
	return entry.sum()
}

// turn makes room for one more print.
func (t *table) turn(at time.Time) {
	if len(t.newer) < t.most && at.Sub(t.since) < Window {
		return
	}
	if len(t.newer) > 0 || len(t.older) > 0 {
		t.newer, t.older = make(map[uint64]tally), t.newer
	}
	t.since = at
}

func (t *table) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.newer) + len(t.older)
}
