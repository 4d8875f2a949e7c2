// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// appendTo appends one record to a subject of PARK and waits for it.
func appendTo(t *testing.T, a *Appender, subject string, ids ...string) (Position, error) {
	t.Helper()
	type answer struct {
		at  Position
		err error
	}
	answers := make(chan answer, len(ids))
	for _, id := range ids {
		if err := a.EnqueueTo(subject, []Frame{mailFrame(t, id)}, func(at Position, err error) { answers <- answer{at, err} }); err != nil {
			return Position{}, err
		}
	}
	var last answer
	for range ids {
		if last = <-answers; last.err != nil {
			return last.at, last.err
		}
	}
	return last.at, nil
}

// The fence of PARK stands around all subjects of the partition: a former owner cannot append to one the new owner has
// never touched.
func TestParkIsFencedAsAWhole(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	ctx := testContext(t)
	fence := ParkFence(0)
	old := newAppender(t, js, AppenderOptions{Fence: takeOver(t, js, "first").Fences[fence]})
	if _, err := appendTo(t, old, ParkSubject(0, "a.example"), "a1", "a2"); err != nil {
		t.Fatal(err)
	}
	if _, err := appendTo(t, old, ParkSubject(0, "b.example"), "b1"); err != nil {
		t.Fatal(err)
	}
	second := takeOver(t, js, "second")
	var fenced *FencedError
	if _, err := appendTo(t, old, ParkSubject(0, "c.example"), "c1"); !errors.As(err, &fenced) {
		t.Errorf("a former owner appends: %v", err)
	}
	other, err := FenceOff(ctx, js, ParkFence(1), FenceOptions{Owner: "other", Around: ParkSubjects(1)})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := newAppender(t, js, AppenderOptions{Fence: other})
	if _, err := appendTo(t, elsewhere, ParkSubject(1, "c.example"), "x"); err != nil {
		t.Errorf("another partition: %v", err)
	}
	own := newAppender(t, js, AppenderOptions{Fence: second.Fences[fence]})
	if _, err := appendTo(t, own, ParkSubject(0, "c.example"), "c1"); err != nil {
		t.Errorf("the owner: %v", err)
	}
	// Former takeovers do not pile up.
	third := takeOver(t, js, "third")
	d, err := ReadNext(ctx, js, StreamPark, fence, 1)
	if err != nil || d.Sequence != third.Fences[fence].Last() || d.Takeover() != "third" {
		t.Errorf("first takeover that is there: %+v, %v", d, err)
	}
}

func TestASegmentOfParkHasOneDestination(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	a := newAppender(t, js, AppenderOptions{Fence: takeOver(t, js, "owner").Fences[ParkFence(0)], Linger: 200 * time.Millisecond})
	stored := make(chan error, 9)
	for i := range 9 {
		destination := []string{"a.example", "b.example", "c.example"}[i%3]
		err := a.EnqueueTo(ParkSubject(0, destination), []Frame{mailFrame(t, destination)}, func(_ Position, err error) { stored <- err })
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 9 {
		if err := <-stored; err != nil {
			t.Fatal(err)
		}
	}
	for _, destination := range []string{"a.example", "b.example", "c.example"} {
		d, err := ReadNext(testContext(t), js, StreamPark, ParkSubject(0, destination), 1)
		if err != nil || d.Segment.Len() != 3 {
			t.Fatalf("%s: %d records, %v", destination, d.Segment.Len(), err)
		}
		var ids []string
		for i := range 3 {
			f, err := d.Segment.Frame(i)
			if err != nil {
				t.Fatal(err)
			}
			m, err := f.Mail()
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, m.GetMessageId())
		}
		if !slices.Equal(ids, []string{destination, destination, destination}) {
			t.Errorf("%s: %v", destination, ids)
		}
	}
}

func TestDeleteParked(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	ctx := testContext(t)
	a := newAppender(t, js, AppenderOptions{Fence: takeOver(t, js, "owner").Fences[ParkFence(0)], OnRefused: func(context.Context, error) error { return nil }})
	subject := ParkSubject(0, "a.example")
	one, err := appendTo(t, a, subject, "one")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // again, as after an answer that was lost
		if err := DeleteParked(ctx, js, one.Sequence); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadSegment(ctx, js, StreamPark, one.Sequence); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("it is still there: %v", err)
	}
	// What was last is gone, so the fence states a sequence that is not there any more; the owner goes on all the same.
	two, err := appendTo(t, a, subject, "two")
	if err != nil {
		t.Fatal(err)
	}
	if last, err := LastOfSubject(ctx, js, StreamPark, ParkSubjects(0)); err != nil || last != two.Sequence {
		t.Errorf("last is %d, %v, want %d", last, err, two.Sequence)
	}
}
