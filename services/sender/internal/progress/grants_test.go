// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"testing"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func held(c *eventv1.Checkpoint) map[string]int {
	n := make(map[string]int)
	for _, f := range c.GetFloors() {
		n[f.GetStream()] = int(f.GetHeld())
	}
	return n
}

// store stores a checkpoint at a sequence of OUTCOME.
func store(k *Tracker, sequence uint64) *eventv1.Checkpoint {
	c := k.Checkpoint(noon)
	k.Offered(c)
	k.Stored(c, sequence)
	return c
}

func TestQ08_NoMoreIsHeldThanAStoredCheckpointSays(t *testing.T) {
	k := New(reading, folded, 1000, nil)
	if k.Granted("MAIL", 1) {
		t.Error("granted before any checkpoint is stored")
	}
	if c := store(k, 1); held(c)["MAIL"] < headroom || held(c)["RETRY_5"] != 0 {
		t.Errorf("at the start: %v", held(c))
	}
	if !k.Granted("MAIL", headroom) || k.Granted("MAIL", headroom+2) {
		t.Error("not as the checkpoint says")
	}
	if k.Granted("RETRY_5", 200) {
		t.Error("granted without a word")
	}
	asked := store(k, 2)
	if !k.Granted("RETRY_5", 200) || !k.Granted("MAIL", headroom+2) {
		t.Errorf("what was asked for is not granted: %v", held(asked))
	}
	read(k, "RETRY_5", 1, 200)
	if c := store(k, 3); held(c)["RETRY_5"] != 200+headroom {
		t.Errorf("a stream that flows: %v", held(c))
	}
	if c := store(k, 4); held(c)["RETRY_5"] != 200 {
		t.Errorf("a stream that stands: %v", held(c))
	}
}

// Two checkpoints on their way may be stored in either order: what only one of them allows is not granted.
func TestQ08_ACheckpointOnItsWayGrantsNothingYet(t *testing.T) {
	k := New(reading, folded, 1000, nil)
	store(k, 1)
	low := k.Checkpoint(noon)
	k.Offered(low)
	k.Granted("MAIL", 500)
	high := k.Checkpoint(noon)
	k.Offered(high)
	if held(high)["MAIL"] < 500 {
		t.Fatalf("%v", held(high))
	}
	k.Stored(high, 3)
	if k.Granted("MAIL", 500) {
		t.Error("granted, though the lower one may be stored last")
	}
	k.Stored(low, 2)
	if !k.Granted("MAIL", 500) {
		t.Error("not granted, though the higher one was stored last")
	}
	low = k.Checkpoint(noon) // nothing is asked for any more
	low.Floors[0].Held = new(uint32(1))
	k.Offered(low)
	k.Stored(low, 4)
	if k.Granted("MAIL", 2) {
		t.Error("an earlier checkpoint counts")
	}
}

// Whatever is asked for and read: together no more than the window is ever allowed, so that no more than a window of
// records is marked after a kill (the streams' number does not matter).
func TestQ08_TogetherTheGrantsAreNoMoreThanTheWindow(t *testing.T) {
	const window = 300
	k := New(reading, folded, window, nil)
	var open []*Segment
	next := map[string]uint64{}
	for i := range 2000 {
		name := reading[(i*7)%3]
		n := 1 + (i*31)%80
		total := 0
		c := store(k, uint64(i+1))
		for _, f := range c.GetFloors() {
			total += int(f.GetHeld())
		}
		if total > window {
			t.Fatalf("step %d: %v", i, held(c))
		}
		if records, _ := k.Held(); records+n > window {
			for range open[0].open {
				k.Settled(open[0])
			}
			open = open[1:]
			continue
		}
		if k.Granted(name, n) {
			next[name]++
			open = append(open, read(k, name, next[name], n))
		}
	}
	if len(open) < 3 {
		t.Errorf("hardly anything was read: %d segments open", len(open))
	}
}

func TestASegmentLargerThanTheWindowIsGrantedAlone(t *testing.T) {
	k := New(reading, folded, 10, nil)
	store(k, 1)
	if k.Granted("MAIL", 50) {
		t.Fatal("without a word")
	}
	store(k, 2)
	if !k.Granted("MAIL", 50) {
		t.Error("never granted")
	}
}

// A copy that was carried forward comes due in ten minutes. Until then its record's outcome lies before all that is open.
func TestQ09_FoldDoesNotPassWhatWasCarriedForward(t *testing.T) {
	k := fresh()
	k.Reached("OUTCOME", 10)
	attempted := read(k, "MAIL", 1, 1)
	k.Reached("OUTCOME", 20)
	k.Reached("RETRY_5", 7)
	k.Ahead("RETRY_5", 7)
	k.Settled(attempted)
	k.Reached("OUTCOME", 30) // its outcome is among these
	want := func(when string, sequence uint64) {
		t.Helper()
		if got := foldOf(k.Checkpoint(noon), "OUTCOME"); got != sequence {
			t.Errorf("%s: the fold begins at %d, want %d", when, got, sequence)
		}
	}
	want("unread", 21)
	before := read(k, "RETRY_5", 6, 1)
	k.Read("RETRY_5", 7, 1, 0, 10, false, noon)
	want("read and settled, above a segment that is open", 21)
	k.Settled(before)
	want("passed", 31)
}

func TestStragglersAreWhatIsOldOrHoldsMuchBack(t *testing.T) {
	k := New(reading, folded, 100, nil)
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	readAt := func(name string, sequence uint64, n, seconds int) *Segment {
		return k.Read(name, sequence, n, n, 10, false, at(seconds))
	}
	first, second := readAt("MAIL", 1, 2, 0), readAt("MAIL", 2, 2, 3)
	k.Settled(first)
	other := readAt("RETRY_1", 1, 1, 3)
	if got := k.Stragglers(at(-1), at(100)); len(got) != 0 {
		t.Errorf("%d stragglers where nothing is held back", len(got))
	}
	for i := range 25 {
		g := readAt("MAIL", uint64(10+i), 2, 4)
		k.Settled(g)
		k.Settled(g)
	}
	if got := k.Stragglers(at(-1), at(100)); len(got) != 1 || got[0] != first {
		t.Errorf("more than half the window is settled above the first, and no more than half above the second: %v", got)
	}
	if got := k.Stragglers(at(-1), at(-1)); len(got) != 0 {
		t.Error("too young")
	}
	if got := k.Stragglers(at(3), at(3)); len(got) != 3 || got[0] != first || got[1] != second || got[2] != other {
		t.Errorf("old ones: %v", got)
	}
	g := readAt("MAIL", 100, 2, 5)
	k.Settled(g)
	if got := k.Stragglers(at(-1), at(100)); len(got) != 2 || got[1] != second {
		t.Errorf("with more above them: %v", got)
	}
}
