// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/intake"
)

// checkpoint returns the checkpoint as things stand, for a segment of a kind that is about to be appended.
func (t *Tenure) checkpoint(kind bus.OutcomeKind) *eventv1.Checkpoint {
	unconfirmed := make(map[string]uint64)
	for m, a := range t.retries {
		if after, ok := a.Unconfirmed(); ok {
			unconfirmed[bus.RetryStream(m)] = after
		}
	}
	now := t.opts.Clock.Estimate()
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.desk.Checkpoint(now, t.drained, unconfirmed)
	c.Owner = t.opts.Owner
	c.LeaseRevision = t.right().Revision()
	t.desk.Offered(c)
	t.offered[kind], t.latest = c, c
	return c
}

// checkpointStored notes that the checkpoint last offered for a kind is stored.
func (t *Tenure) checkpointStored(kind bus.OutcomeKind, sequence uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.desk.Stored(t.offered[kind], sequence)
	t.change()
}

// sayHeld asks for a checkpoint, since more is to be read than the last one says can be held; t.mu may be held.
func (t *Tenure) sayHeld() {
	select {
	case t.unsaid <- struct{}{}:
	default:
	}
}

// keepSaying stores the checkpoints that sayHeld asks for, until ctx ends.
func (t *Tenure) keepSaying(ctx context.Context) {
	for {
		select {
		case <-t.unsaid:
		case <-ctx.Done():
			return
		}
		if _, err := t.outcomes[bus.Quiet].Append(ctx, nil); err != nil && ctx.Err() == nil {
			t.opts.Log.Warn("storing a checkpoint failed", slog.Any("error", err))
			t.sleep(ctx, readPause, nil)
			t.sayHeld()
		}
	}
}

// keepCheckpoint stores a checkpoint of its own when floors moved and no outcome carried it, and moves the floors of
// streams in which this partition has nothing.
func (t *Tenure) keepCheckpoint(ctx context.Context) {
	for ctx.Err() == nil {
		t.sleep(ctx, t.opts.Limits.CheckpointEvery, nil)
		err := t.survey(ctx)
		if err == nil {
			err = t.storeIfMoved(ctx)
		}
		if err != nil && ctx.Err() == nil {
			t.opts.Log.LogAttrs(ctx, t.trouble(), "storing a checkpoint failed", slog.Any("error", err))
		}
	}
}

// survey asks where the streams stand.
func (t *Tenure) survey(ctx context.Context) error {
	for _, stream := range intake.Reading(t.minutes) {
		last, err := bus.LastSequences(ctx, t.opts.JS, stream)
		if err != nil {
			return err
		}
		mine := last.Subjects[t.subjects(stream)[0]]
		t.mu.Lock()
		t.desk.Idle(stream, last.Sequence, mine)
		t.mu.Unlock()
	}
	for _, stream := range []string{bus.StreamOutcome, bus.StreamPark} {
		s, err := t.opts.JS.Stream(ctx, stream)
		if err != nil {
			return fmt.Errorf("state of stream %s: %w", stream, err)
		}
		t.mu.Lock()
		t.desk.Reached(stream, s.CachedInfo().State.LastSeq)
		t.mu.Unlock()
	}
	return nil
}

func (t *Tenure) storeIfMoved(ctx context.Context) error {
	t.mu.Lock()
	before := t.latest
	t.mu.Unlock()
	if sameFloors(before, t.peekCheckpoint()) {
		return nil
	}
	crashpoint.At("sender.checkpoint.before")
	_, err := t.outcomes[bus.Quiet].Append(ctx, nil)
	crashpoint.At("sender.checkpoint.after")
	return err
}

// peekCheckpoint returns what the checkpoint would be now.
func (t *Tenure) peekCheckpoint() *eventv1.Checkpoint {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.desk.Checkpoint(t.opts.Clock.Estimate(), false, nil)
}

func sameFloors(a, b *eventv1.Checkpoint) bool {
	return a.GetWindow() == b.GetWindow() && slices.EqualFunc(a.GetFloors(), b.GetFloors(), func(x, y *eventv1.Floor) bool {
		return proto.Equal(x, y)
	})
}
