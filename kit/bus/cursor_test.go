// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"testing"
	"time"
)

func openCursors(t *testing.T) (*Cursors, func(do func())) {
	t.Helper()
	s, js := startBus(t)
	c, err := OpenCursors(testContext(t), js)
	if err != nil {
		t.Fatal(err)
	}
	return c, func(do func()) { loseAnswers(s, do) }
}

func mustRead(t *testing.T, c *Cursors, partition int) Cursor {
	t.Helper()
	cursor, err := c.Read(testContext(t), partition)
	if err != nil {
		t.Fatal(err)
	}
	return cursor
}

func TestCursorBeginsBeforeEverythingAndKeepsItsPlace(t *testing.T) {
	c, _ := openCursors(t)
	ctx := testContext(t)
	at := mustRead(t, c, 3)
	if at != (Cursor{Partition: 3}) {
		t.Errorf("first cursor %+v", at)
	}
	for _, sequence := range []uint64{7, 9, 1 << 63} {
		next, err := c.Advance(ctx, at, sequence)
		if err != nil || next.Sequence != sequence || next.Revision <= at.Revision {
			t.Fatalf("Advance to %d = %+v, %v", sequence, next, err)
		}
		at = next
		if read := mustRead(t, c, 3); read != at {
			t.Errorf("read %+v, want %+v", read, at)
		}
	}
	if told := mustRead(t, c, Told); told.Sequence != 0 {
		t.Errorf("cursor over what was told: %+v", told)
	}
	if told, err := c.Advance(ctx, mustRead(t, c, Told), 1762077600); err != nil || mustRead(t, c, Told) != told {
		t.Errorf("Advance of what was told = %+v, %v", told, err)
	}
	if other := mustRead(t, c, 2); other.Sequence != 0 {
		t.Errorf("cursor of another partition: %+v", other)
	}
}

func TestCursorOfAFormerOwnerIsRefused(t *testing.T) {
	c, _ := openCursors(t)
	ctx := testContext(t)
	old := mustRead(t, c, 0)
	now, err := c.Advance(ctx, old, 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Advance(ctx, old, 5); !errors.Is(err, ErrCursorMoved) {
		t.Errorf("former owner: %v, want ErrCursorMoved", err)
	}
	if read := mustRead(t, c, 0); read != now {
		t.Errorf("cursor went to %+v", read)
	}
}

func TestCursorWhoseAnswerWasLostIsFoundAgain(t *testing.T) {
	c, lose := openCursors(t)
	at := mustRead(t, c, 0)
	lose(func() {
		ctx, cancel := context.WithTimeout(testContext(t), 100*time.Millisecond)
		defer cancel()
		if _, err := c.Advance(ctx, at, 4); err == nil || errors.Is(err, ErrCursorMoved) {
			t.Errorf("Advance without an answer: %v", err)
		}
	})
	for ctx := testContext(t); ; {
		next, err := c.Advance(ctx, at, 4)
		if err == nil && next.Sequence == 4 {
			return
		}
		if ctx.Err() != nil || errors.Is(err, ErrCursorMoved) {
			t.Fatalf("the same Advance again = %+v, %v", next, err)
		}
	}
}

func TestCursorThatCannotBeRead(t *testing.T) {
	c, _ := openCursors(t)
	ctx := testContext(t)
	if _, err := c.kv.PutString(ctx, cursorKey(0), "seven"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(ctx, 0); err == nil {
		t.Error("a cursor that is no number was read")
	}
	if err := c.kv.Delete(ctx, cursorKey(0)); err != nil {
		t.Fatal(err)
	}
	at := mustRead(t, c, 0)
	if at.Sequence != 0 || at.Revision == 0 {
		t.Errorf("deleted cursor %+v", at)
	}
	if _, err := c.Advance(ctx, at, 1); err != nil {
		t.Errorf("Advance of a deleted cursor: %v", err)
	}
}

func TestLowestCursor(t *testing.T) {
	c, _ := openCursors(t)
	ctx := testContext(t)
	want := func(partitions int, sequence uint64) {
		t.Helper()
		if got, err := c.Lowest(ctx, partitions); err != nil || got != sequence {
			t.Errorf("Lowest(%d) = %d, %v, want %d", partitions, got, err, sequence)
		}
	}
	for partition, sequence := range []uint64{12, 5, 30} {
		if _, err := c.Advance(ctx, mustRead(t, c, partition), sequence); err != nil {
			t.Fatal(err)
		}
	}
	want(3, 5)
	want(1, 12)
	want(4, 0)
	want(0, 0)
}

func TestOpenCursorsNeedsItsBucket(t *testing.T) {
	s := startServer(t)
	if _, err := OpenCursors(testContext(t), s.JetStream()); err == nil {
		t.Error("opened without a bucket")
	}
}
