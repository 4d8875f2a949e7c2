// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/services/dsn/internal/notify"
)

// Bounds of what is under way, for all partitions together.
const (
	// maxBytes is how many octets of segments are held at once.
	maxBytes = 64 << 20
	// maxSegments is how many segments of one partition wait for those before them.
	maxSegments = 64
	// readAhead is how many octets a reader asks for in advance.
	readAhead = 1 << 20
)

// Bounds of the pause after the store did not answer.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// DefaultIdle is how long nothing has to come before the cursor is moved over what is of no concern.
const DefaultIdle = 10 * time.Second

// Handler settles outcomes.
type Handler interface {
	// Handle returns nil once the outcome is settled for good. Its only error is that of ctx.
	Handle(ctx context.Context, item notify.Item) error
	// Undecodable is told of a stored outcome that cannot be read.
	Undecodable(ctx context.Context)
}

// Options say what a Follower reads.
type Options struct {
	JetStream  jetstream.JetStream
	Cursors    *bus.Cursors
	Partitions int
	// Concurrency is how many outcomes are handled at once, over all partitions.
	Concurrency int
	// Idle is how long nothing has to come in a partition before its cursor is moved to the end. 0 is DefaultIdle.
	Idle    time.Duration
	Handler Handler
	Log     *slog.Logger
}

// Follower reads all partitions. It is made anew for each time the work is owned.
type Follower struct {
	opts  Options
	bytes *semaphore.Weighted
	slots *semaphore.Weighted
	ends  ends
}

// New returns a Follower.
func New(o Options) *Follower {
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	return &Follower{
		opts:  o,
		bytes: semaphore.NewWeighted(maxBytes),
		slots: semaphore.NewWeighted(int64(max(o.Concurrency, 1))),
		ends:  ends{js: o.JetStream, fresh: o.Idle / 2},
	}
}

// Run reads until ctx ends; it then returns ctx's error, with nothing of it left running. Any other error means that the
// work cannot go on: somebody else moves the cursors (bus.ErrCursorMoved), or the stream is gone.
func (f *Follower) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for partition := range f.opts.Partitions {
		g.Go(func() error { return f.partition(ctx, partition) })
	}
	return g.Wait()
}

// partition reads one partition. The reader, the handlers and the keeper of the cursor end together.
func (f *Follower) partition(ctx context.Context, partition int) error {
	at, err := retry(ctx, f, "read cursor", func(ctx context.Context) (bus.Cursor, error) {
		return f.opts.Cursors.Read(ctx, partition)
	})
	if err != nil {
		return err
	}
	reader, at, err := f.open(ctx, at)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }() // the server forgets its side of it anyway
	g, ctx := errgroup.WithContext(ctx)
	queue := make(chan *segment, maxSegments)
	g.Go(func() error {
		defer close(queue)
		return f.read(ctx, g, reader, at, queue)
	})
	g.Go(func() error { return f.keep(ctx, at, queue) })
	return g.Wait()
}

// open opens a reader behind the cursor. A cursor beyond the end of the stream is that of another stream, which is gone;
// what lies in this one has not been looked at yet, or was under the same keys.
func (f *Follower) open(ctx context.Context, at bus.Cursor) (*bus.Reader, bus.Cursor, error) {
	reader, err := retry(ctx, f, "open reader", func(ctx context.Context) (*bus.Reader, error) {
		r, err := f.reader(ctx, at)
		if ahead, ok := errors.AsType[*bus.AheadError](err); ok {
			f.opts.Log.LogAttrs(ctx, slog.LevelError, "the stream of outcomes is another one, beginning again",
				slog.Int("partition", at.Partition), slog.Any("error", ahead))
			at.Sequence = 0
			return f.reader(ctx, at)
		}
		return r, err
	})
	return reader, at, err
}

func (f *Follower) reader(ctx context.Context, at bus.Cursor) (*bus.Reader, error) {
	return bus.NewReader(ctx, f.opts.JetStream, bus.ReaderOptions{
		Stream:   bus.StreamOutcome,
		Subjects: []string{bus.OutcomeSubject(bus.Notice, at.Partition)},
		From:     at.Sequence + 1,
		MaxBytes: readAhead,
	})
}

// read hands each segment to handlers and puts it into the queue, in order. It stops reading while too much is under
// way.
func (f *Follower) read(ctx context.Context, g *errgroup.Group, r *bus.Reader, at bus.Cursor, queue chan<- *segment) error {
	passed := at.Sequence
	for {
		d, err := f.next(ctx, r)
		var s *segment
		switch {
		case err == nil:
			passed = d.Sequence
			if s, err = f.dispatch(ctx, g, d); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			if s = f.idle(ctx, at.Partition, passed); s == nil {
				continue
			}
			passed = s.sequence
		default:
			return err
		}
		select {
		case queue <- s:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *Follower) next(ctx context.Context, r *bus.Reader) (bus.Delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, f.opts.Idle)
	defer cancel()
	return r.Next(ctx)
}

// dispatch starts a handler for each record of a segment.
func (f *Follower) dispatch(ctx context.Context, g *errgroup.Group, d bus.Delivery) (*segment, error) {
	weight := int64(min(len(d.Data), maxBytes))
	if err := f.bytes.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	s := newSegment(d.Sequence, d.Segment.Len(), func() { f.bytes.Release(weight) })
	if d.Err != nil {
		f.undecodable(ctx, d, d.Err)
	}
	for i := range d.Segment.Len() {
		if err := f.slots.Acquire(ctx, 1); err != nil {
			return nil, err
		}
		g.Go(func() error {
			defer f.slots.Release(1)
			if err := f.record(ctx, d, i); err != nil {
				return err
			}
			s.settled()
			return nil
		})
	}
	return s, nil
}

// record settles one record. One that cannot be read is reported and passed: it never blocks others.
func (f *Follower) record(ctx context.Context, d bus.Delivery, i int) error {
	frame, err := d.Segment.Frame(i)
	if err != nil {
		f.undecodable(ctx, d, err)
		return nil
	}
	outcome, err := frame.Outcome()
	if err != nil {
		f.undecodable(ctx, d, err)
		return nil
	}
	return f.opts.Handler.Handle(ctx, notify.Item{Outcome: outcome, Original: frame.Content, StoredAt: d.Time})
}

func (f *Follower) undecodable(ctx context.Context, d bus.Delivery, err error) {
	f.opts.Handler.Undecodable(ctx)
	f.opts.Log.LogAttrs(ctx, slog.LevelError, "outcome cannot be read, no notification is made of it",
		slog.String("stream", d.Stream), slog.Uint64("sequence", d.Sequence), slog.Any("error", err))
}

// retry repeats what needs the store until it answers or ctx ends.
func retry[T any](ctx context.Context, f *Follower, what string, do func(context.Context) (T, error)) (T, error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		value, err := do(ctx)
		if err == nil || errors.Is(err, bus.ErrCursorMoved) {
			return value, err
		}
		if ctx.Err() != nil {
			return value, ctx.Err()
		}
		f.opts.Log.LogAttrs(ctx, slog.LevelWarn, "the queue's store does not answer, trying again",
			slog.String("what", what), slog.Any("error", fmt.Errorf("%s: %w", what, err)))
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return value, ctx.Err()
		}
	}
}
