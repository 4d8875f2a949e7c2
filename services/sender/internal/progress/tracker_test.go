// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"testing"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

var (
	reading = []string{"MAIL", "RETRY_1", "RETRY_5"}
	folded  = []string{"OUTCOME", "PARK", "RETRY_1", "RETRY_5"}
	noon    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func fresh() *Tracker {
	t := New(reading, folded, 100, nil)
	t.PastRead()
	return t
}

func read(t *Tracker, name string, sequence uint64, open int) *Segment {
	return t.Read(name, sequence, open, open, int64(open)*10, false, noon)
}

func floorOf(c *eventv1.Checkpoint, name string) uint64 { return Floors(c.GetFloors())[name] }
func foldOf(c *eventv1.Checkpoint, name string) uint64  { return Floors(c.GetFold())[name] }

func TestFloorIsTheFirstUnsettledSegment(t *testing.T) {
	k := fresh()
	a, b, c := read(k, "MAIL", 3, 2), read(k, "MAIL", 4, 1), read(k, "MAIL", 9, 1)
	for _, step := range []struct {
		settle *Segment
		last   bool
		floor  uint64
	}{{b, true, 3}, {a, false, 3}, {a, true, 9}, {c, true, 10}} {
		if got := k.Settled(step.settle); got != step.last {
			t.Errorf("segment %d settled: %v", step.settle.sequence, got)
		}
		if got := k.Floor("MAIL"); got != step.floor {
			t.Errorf("floor is %d, want %d", got, step.floor)
		}
	}
	if records, bytes := k.Held(); records != 0 || bytes != 0 {
		t.Errorf("%d records and %d bytes are held when all is settled", records, bytes)
	}
	if got := k.Floor("RETRY_1"); got != 1 {
		t.Errorf("floor of a stream of which nothing was read is %d", got)
	}
}

func TestASegmentWithNothingOpenOnlyMovesTheFloor(t *testing.T) {
	k := fresh()
	if k.Read("MAIL", 5, 10, 0, 100, false, noon) != nil {
		t.Error("a settled segment is held")
	}
	if got := k.Floor("MAIL"); got != 6 {
		t.Errorf("floor is %d", got)
	}
	k.Passed("MAIL", 50)
	k.Passed("MAIL", 20)
	if got := k.Floor("MAIL"); got != 50 {
		t.Errorf("floor of an idle partition is %d", got)
	}
}

func TestHeldCountsRecordsAndSegmentBytes(t *testing.T) {
	k := fresh()
	a, b := read(k, "MAIL", 1, 3), read(k, "RETRY_1", 1, 2)
	if records, bytes := k.Held(); records != 5 || bytes != 50 {
		t.Errorf("%d records, %d bytes", records, bytes)
	}
	k.Settled(a)
	k.Settled(b)
	if records, bytes := k.Held(); records != 3 || bytes != 50 {
		t.Errorf("a segment's bytes are free before its last record: %d records, %d bytes", records, bytes)
	}
	if records, bytes := k.HeldOf("MAIL"); records != 2 || bytes != 30 {
		t.Errorf("of MAIL %d records, %d bytes", records, bytes)
	}
}

func TestSettlingARecordTwiceIsAProgrammingError(t *testing.T) {
	k := fresh()
	g := read(k, "MAIL", 1, 1)
	k.Settled(g)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	k.Settled(g)
}

func TestFoldBeginsBeforeTheOldestUnsettledSegment(t *testing.T) {
	k := fresh()
	k.Reached("OUTCOME", 10)
	a := read(k, "MAIL", 1, 1)
	k.Reached("OUTCOME", 20)
	k.Reached("RETRY_5", 7)
	b := read(k, "RETRY_1", 1, 1)
	k.Reached("OUTCOME", 30)
	k.Reached("MAIL", 99) // not folded
	if got := foldOf(k.Checkpoint(noon), "OUTCOME"); got != 11 {
		t.Errorf("with the oldest open: %d", got)
	}
	k.Settled(a)
	c := k.Checkpoint(noon)
	if foldOf(c, "OUTCOME") != 21 || foldOf(c, "RETRY_5") != 8 || foldOf(c, "PARK") != 1 {
		t.Errorf("with the second open: %v", c.GetFold())
	}
	k.Settled(b)
	if got := foldOf(k.Checkpoint(noon), "OUTCOME"); got != 31 {
		t.Errorf("with nothing open: %d", got)
	}
}

// A record deferred from MAIL is copied to RETRY_1, comes due, is settled there, and the copy could be purged while the
// segment it came from still has an open record. A later owner would find the deferral, but not the move.
func TestQ09_EvidenceOfAMoveIsNotPurgedWhileItsSourceMayBeRead(t *testing.T) {
	k := fresh()
	straggler := read(k, "MAIL", 1, 2)
	k.Settled(straggler) // its neighbour: deferred and moved to RETRY_1 at 5
	k.Reached("RETRY_1", 5)
	k.Settled(read(k, "RETRY_1", 5, 1))
	if got := k.Floor("RETRY_1"); got != 6 {
		t.Fatalf("true floor is %d", got)
	}
	if got := floorOf(k.Checkpoint(noon), "RETRY_1"); got > 5 {
		t.Errorf("the checkpoint lets the copy be purged: floor %d", got)
	}
	k.Settled(straggler)
	if got := floorOf(k.Checkpoint(noon), "RETRY_1"); got != 6 {
		t.Errorf("floor is %d when the source is settled", got)
	}
}

func TestIdlePartitionDoesNotHoldAStreamBack(t *testing.T) {
	k := fresh()
	for _, name := range folded {
		k.Reached(name, 1000)
	}
	k.Passed("MAIL", 501)
	k.Passed("RETRY_1", 1001)
	c := k.Checkpoint(noon)
	if floorOf(c, "MAIL") != 501 || floorOf(c, "RETRY_1") != 1001 || foldOf(c, "OUTCOME") != 1001 {
		t.Errorf("floors %v, fold %v", c.GetFloors(), c.GetFold())
	}
}

func TestFoldGoesOnFromTheFormerOwnerUntilItsTracesAreUsedUp(t *testing.T) {
	former := &eventv1.Checkpoint{
		Floors: []*eventv1.Floor{{Stream: "MAIL", Sequence: 40}, {Stream: "RETRY_1", Sequence: 4}},
		Fold:   []*eventv1.Floor{{Stream: "OUTCOME", Sequence: 90}, {Stream: "RETRY_1", Sequence: 8}},
	}
	k := New(reading, folded, 100, former)
	for _, name := range folded {
		k.Reached(name, 200)
	}
	if got := k.Next("MAIL"); got != 40 {
		t.Errorf("reads MAIL from %d", got)
	}
	half := k.Read("MAIL", 40, 256, 1, 0, true, noon)
	other := k.Read("MAIL", 41, 256, 1, 0, false, noon)
	want := func(when string, sequence uint64) {
		t.Helper()
		if got := foldOf(k.Checkpoint(noon), "OUTCOME"); got != sequence {
			t.Errorf("%s: the fold begins at %d, want %d", when, got, sequence)
		}
	}
	want("half settled segment open", 90)
	k.PastRead()
	want("all traces read, half settled segment open", 90)
	k.Settled(half)
	want("only a segment without traces open", 201)
	k.Settled(other)
	want("nothing open", 201)
	if got := floorOf(k.Checkpoint(noon), "RETRY_1"); got != 4 {
		t.Errorf("floor of RETRY_1 is %d", got)
	}
}

// A segment that a former owner settled, above one that is still open: the next owner reads both, and must find what was
// stored of the upper one.
func TestQ09_FoldStaysInheritedWhileTracesLieAboveAFloor(t *testing.T) {
	former := &eventv1.Checkpoint{Fold: []*eventv1.Floor{{Stream: "OUTCOME", Sequence: 90}}}
	k := New(reading, folded, 100, former)
	k.Reached("OUTCOME", 200)
	open := k.Read("MAIL", 1, 1, 1, 0, false, noon)
	k.Read("MAIL", 2, 1, 0, 0, true, noon)
	k.PastRead()
	if got := foldOf(k.Checkpoint(noon), "OUTCOME"); got != 90 {
		t.Errorf("the fold begins at %d, the evidence for segment 2 is lost", got)
	}
	k.Settled(open)
	if got := foldOf(k.Checkpoint(noon), "OUTCOME"); got != 201 {
		t.Errorf("the fold begins at %d when the floor has passed", got)
	}
}

func TestFoldStaysInheritedWhileTracesAreUnread(t *testing.T) {
	former := &eventv1.Checkpoint{Fold: []*eventv1.Floor{{Stream: "OUTCOME", Sequence: 90}}}
	k := New(reading, folded, 100, former)
	k.Reached("OUTCOME", 200)
	k.Settled(k.Read("MAIL", 1, 1, 1, 0, true, noon))
	if got := foldOf(k.Checkpoint(noon), "OUTCOME"); got != 90 {
		t.Errorf("the fold begins at %d though traces are unread", got)
	}
}

func TestCheckpointSaysSinceWhenAndHowMuch(t *testing.T) {
	k := fresh()
	later := noon.Add(time.Hour)
	if c := k.Checkpoint(later); !c.GetFoldFrom().AsTime().Equal(later) || c.GetWindow() != 100 {
		t.Errorf("idle: %v", c)
	}
	g := read(k, "MAIL", 1, 1)
	if c := k.Checkpoint(later); !c.GetFoldFrom().AsTime().Equal(noon) {
		t.Errorf("fold_from is %v, not when the oldest was read", c.GetFoldFrom().AsTime())
	}
	k.Settled(g)
	if _, ok := k.Oldest(); ok {
		t.Error("there is an oldest though nothing is open")
	}
}

func TestSpanGrowsBehindAStragglerOnly(t *testing.T) {
	k := fresh()
	for seq := uint64(1); seq <= 50; seq++ {
		k.Settled(k.Read("MAIL", seq, 256, 1, 0, false, noon))
	}
	if k.Span() != 0 {
		t.Errorf("span is %d with nothing open", k.Span())
	}
	straggler := read(k, "MAIL", 51, 1)
	for seq := uint64(52); seq <= 150; seq++ {
		k.Settled(k.Read("MAIL", seq, 256, 1, 0, false, noon))
	}
	if got := k.Span(); got < 99*90 || got > 100*128 {
		t.Errorf("span of 100 segments is %d", got)
	}
	k.Settled(straggler)
	if k.Span() != 0 {
		t.Errorf("span is %d at the end", k.Span())
	}
}
