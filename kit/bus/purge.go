// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// PurgeStand is how young a segment is never purged while there is room, so that the server still knows the ids of
// keyed submissions after a restart. ShortStand takes its place when the disk runs full.
const (
	PurgeStand = DedupeWindow
	ShortStand = 20 * time.Second
)

// Purge removes all messages of a stream below a sequence.
func Purge(ctx context.Context, js jetstream.JetStream, stream string, below uint64) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("purge stream %s: %w", stream, err)
	}
	if below <= max(s.CachedInfo().State.FirstSeq, 1) {
		return nil // nothing there; and 0 would purge everything
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(below)); err != nil {
		return fmt.Errorf("purge stream %s below %d: %w", stream, below, err)
	}
	return nil
}

// Purger removes what all partitions have settled. The owner of partition 0 runs it. It is for one goroutine.
type Purger struct {
	js         jetstream.JetStream
	partitions int
	seen       map[string][]sighting // by stream, oldest first
}

// sighting is where a stream ended at a time by the server's clock.
type sighting struct {
	at   time.Time
	last uint64
}

// NewPurger returns a purger for a number of partitions.
func NewPurger(js jetstream.JetStream, partitions int) *Purger {
	return &Purger{js: js, partitions: partitions, seen: make(map[string][]sighting)}
}

// Purge is called once a second. It removes, from MAIL and each RETRY stream, what lies below the lowest floor of all
// partitions' last checkpoints, but never a segment younger than stand by the server's clock. It learns the age of
// segments by looking, so for the length of stand after NewPurger nothing goes. A partition without a checkpoint holds
// everything: its mail is not done.
func (p *Purger) Purge(ctx context.Context, stand time.Duration) error {
	checkpoints, err := p.checkpoints(ctx)
	if err != nil {
		return err
	}
	minutes, err := RetryStreams(ctx, p.js)
	if err != nil {
		return err
	}
	streams := []string{StreamMail}
	for _, m := range minutes {
		streams = append(streams, RetryStream(m))
	}
	var errs []error
	for _, stream := range streams {
		old, err := p.olderThan(ctx, stream, stand)
		if err == nil {
			err = Purge(ctx, p.js, stream, min(old, lowestFloor(checkpoints, stream)))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// checkpoints returns the last ones of all partitions, nil for a partition that has none.
func (p *Purger) checkpoints(ctx context.Context) ([]*eventv1.Checkpoint, error) {
	all := make([]*eventv1.Checkpoint, p.partitions)
	for i := range all {
		newest, err := newestCheckpoint(ctx, p.js, i, directGet)
		if err != nil {
			return nil, err
		}
		all[i] = newest.checkpoint
	}
	return all, nil
}

func lowestFloor(checkpoints []*eventv1.Checkpoint, stream string) uint64 {
	lowest := uint64(math.MaxUint64)
	for _, c := range checkpoints {
		lowest = min(lowest, sequenceOf(c.GetFloors(), stream))
	}
	return lowest
}

// sequenceOf returns a stream's sequence of a list, 0 when it has none.
func sequenceOf(floors []*eventv1.Floor, stream string) uint64 {
	for _, f := range floors {
		if f.GetStream() == stream {
			return f.GetSequence()
		}
	}
	return 0
}

// olderThan notes where the stream ends now, and returns the first sequence that may be younger than age.
func (p *Purger) olderThan(ctx context.Context, stream string, age time.Duration) (uint64, error) {
	s, err := p.js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", stream, err)
	}
	info := s.CachedInfo()
	seen := slices.Concat(p.seen[stream], []sighting{{at: info.TimeStamp, last: info.State.LastSeq}})
	first := uint64(0)
	for _, sight := range seen {
		if info.TimeStamp.Sub(sight.at) >= age {
			first = sight.last + 1
		}
	}
	// What is older than any stand is not needed again, but for the newest of it.
	keep := max(0, slices.IndexFunc(seen, func(s sighting) bool { return info.TimeStamp.Sub(s.at) < PurgeStand })-1)
	p.seen[stream] = seen[keep:]
	return first, nil
}
