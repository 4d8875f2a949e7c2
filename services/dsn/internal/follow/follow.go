// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/services/dsn/internal/notify"
)

// Bounds of what is under way, for all partitions together.
const (
	// maxBytes is how many octets of unsettled segments are held at once.
	maxBytes = 64 << 20
	// maxSegments is how many segments of one partition, settled ones without their octets included, wait for one
	// before them.
	maxSegments = 4096
	// readAhead is how many octets the reader asks for in advance.
	readAhead = 4 << 20
)

// Bounds of the pause after the store did not answer.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// DefaultIdle is how often the cursors are moved over what is of no concern.
const DefaultIdle = 15 * time.Second

// Handler settles outcomes.
type Handler interface {
	// Begin is called before anything else with where the cursors stand. After an error it is called again.
	Begin(ctx context.Context, cursors []bus.Cursor) error
	// Recall is told of outcomes that are settled already, but belong to what is counted together with those that are
	// not. Plan decides about an outcome. Both are called in the order in which outcomes were stored, from one goroutine.
	Recall(item notify.Item)
	Plan(item notify.Item) notify.Item
	// Handle is given what Plan returned. It returns nil once the outcome is settled for good. Its only error is that of
	// ctx.
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
	// Idle is how often the cursors of partitions in which nothing happens are moved on. 0 is DefaultIdle.
	Idle    time.Duration
	Handler Handler
	// Since returns, for the time at which the first outcome to be handled was stored, from where on Recall is told of
	// the ones before it. Nil means nowhere.
	Since func(time.Time) time.Time
	// Beside, when set, runs beside the reading. passed returns up to where everything is settled in all partitions.
	Beside func(ctx context.Context, passed func() uint64) error
	Log    *slog.Logger
}

// Follower reads all partitions, in the order in which the stream has them: one outcome is read before another exactly
// if it was stored before it, whatever their partitions. It is made anew for each time the work is owned.
type Follower struct {
	opts  Options
	bytes *semaphore.Weighted
	slots *semaphore.Weighted
	// stored holds, for each partition, the cursor as it was stored last.
	stored []atomic.Uint64
}

// New returns a Follower.
func New(o Options) *Follower {
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	return &Follower{
		opts:   o,
		stored: make([]atomic.Uint64, o.Partitions),
		bytes:  semaphore.NewWeighted(maxBytes),
		slots:  semaphore.NewWeighted(int64(max(o.Concurrency, 1))),
	}
}

// Run reads until ctx ends; it then returns ctx's error, with nothing of it left running. Any other error means that the
// work cannot go on: somebody else moves the cursors (bus.ErrCursorMoved), or the stream is gone. The reader, the
// handlers and the keepers of the cursors end together.
func (f *Follower) Run(ctx context.Context) error {
	cursors, err := retry(ctx, f, "read cursors", f.cursors)
	if err != nil {
		return err
	}
	if _, err := retry(ctx, f, "begin", func(ctx context.Context) (any, error) {
		if err := f.opts.Handler.Begin(ctx, cursors); err != nil {
			return nil, err
		}
		return nil, f.recall(ctx, lowest(cursors))
	}); err != nil {
		return err
	}
	reader, err := retry(ctx, f, "open reader", func(ctx context.Context) (*bus.Reader, error) {
		return bus.NewReader(ctx, f.opts.JetStream, bus.ReaderOptions{
			Stream:   bus.StreamOutcome,
			Subjects: []string{bus.OutcomeSubject(bus.Notice, bus.AnyPartition)},
			From:     lowest(cursors) + 1,
			MaxBytes: readAhead,
		})
	})
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }() // the server forgets its side of it anyway
	g, ctx := errgroup.WithContext(ctx)
	keepers := make([]*keeper, len(cursors))
	for partition, at := range cursors {
		f.stored[partition].Store(at.Sequence)
		k := &keeper{passed: at.Sequence, queue: make(chan *segment, maxSegments)}
		keepers[partition] = k
		g.Go(func() error { return f.keep(ctx, at, k.queue) })
	}
	g.Go(func() error { return f.read(ctx, g, reader, keepers) })
	if f.opts.Beside != nil {
		g.Go(func() error { return f.opts.Beside(ctx, f.passed) })
	}
	return g.Wait()
}

// passed returns up to where everything is settled in all partitions, durably.
func (f *Follower) passed() uint64 {
	sequence := f.stored[0].Load()
	for i := range f.stored {
		sequence = min(sequence, f.stored[i].Load())
	}
	return sequence
}

// recall hands over what was stored from the beginning Since names up to the lowest cursor. What was trimmed meanwhile is
// not there.
func (f *Follower) recall(ctx context.Context, lowest uint64) error {
	if f.opts.Since == nil || lowest == 0 {
		return nil
	}
	subject := bus.OutcomeSubject(bus.Notice, bus.AnyPartition)
	first, err := bus.ReadNext(ctx, f.opts.JetStream, bus.StreamOutcome, subject, lowest+1)
	if errors.Is(err, bus.ErrNoMore) {
		var end bus.Last
		end, err = bus.LastSequences(ctx, f.opts.JetStream, bus.StreamOutcome)
		first.Time = end.Time
	}
	if err != nil {
		return err
	}
	r, err := bus.NewReader(ctx, f.opts.JetStream, bus.ReaderOptions{
		Stream: bus.StreamOutcome, Subjects: []string{subject}, Since: f.opts.Since(first.Time), MaxBytes: readAhead,
	})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // the server forgets its side of it anyway
	err = r.ReadToEnd(ctx, func(d bus.Delivery) error {
		if d.Sequence > lowest {
			return errRecalled
		}
		f.again(d)
		return nil
	})
	if errors.Is(err, errRecalled) {
		return nil
	}
	return err
}

// errRecalled ends the reading of what is settled already.
var errRecalled = errors.New("all is recalled")

// again recalls the outcomes of a segment. One that cannot be read was reported when it was handled.
func (f *Follower) again(d bus.Delivery) {
	partition, _ := bus.PartitionOf(d.Subject)
	for i := range d.Segment.Len() {
		if item, err := itemOf(d, i, partition); err == nil {
			f.opts.Handler.Recall(item)
		}
	}
}

// itemOf is a record of a segment as it is handled.
func itemOf(d bus.Delivery, i, partition int) (notify.Item, error) {
	frame, err := d.Segment.Frame(i)
	if err != nil {
		return notify.Item{}, err
	}
	outcome, err := frame.Outcome()
	if err != nil {
		return notify.Item{}, err
	}
	return notify.Item{
		Outcome: outcome, Original: frame.Content, StoredAt: d.Time, Partition: partition, Sequence: d.Sequence,
	}, nil
}

// cursors reads where each partition stands. A cursor beyond the end of the stream is that of another stream, which is
// gone: what lies in this one was not looked at yet, or was under the same keys.
func (f *Follower) cursors(ctx context.Context) ([]bus.Cursor, error) {
	end, err := bus.LastSequences(ctx, f.opts.JetStream, bus.StreamOutcome)
	if err != nil {
		return nil, err
	}
	cursors := make([]bus.Cursor, f.opts.Partitions)
	for partition := range cursors {
		at, err := f.opts.Cursors.Read(ctx, partition)
		if err != nil {
			return nil, err
		}
		if at.Sequence > end.Sequence {
			f.opts.Log.LogAttrs(ctx, slog.LevelError, "the stream of outcomes is another one, beginning again",
				slog.Int("partition", partition), slog.Uint64("cursor", at.Sequence), slog.Uint64("end", end.Sequence))
			at.Sequence = 0
		}
		cursors[partition] = at
	}
	return cursors, nil
}

func lowest(cursors []bus.Cursor) uint64 {
	sequence := cursors[0].Sequence
	for _, at := range cursors[1:] {
		sequence = min(sequence, at.Sequence)
	}
	return sequence
}

// read hands the records of each segment to handlers, and the segment to the keeper of its partition, in order. It stops
// reading while too much is under way.
func (f *Follower) read(ctx context.Context, g *errgroup.Group, r *bus.Reader, keepers []*keeper) error {
	marked := time.Now()
	for {
		d, err := f.next(ctx, r)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var read uint64 // up to here everything was read
		switch {
		case err == nil:
			if err := f.segment(ctx, g, d, keepers); err != nil {
				return err
			}
			read = d.Sequence
		case errors.Is(err, context.DeadlineExceeded):
			read = f.end(ctx, r.Position())
		default:
			return err
		}
		if time.Since(marked) < f.opts.Idle {
			continue
		}
		marked = time.Now()
		for _, k := range keepers {
			if err := k.mark(ctx, read); err != nil {
				return err
			}
		}
	}
}

// segment dispatches a segment, unless its partition's cursor has passed it. One of a partition that does not exist was
// put there by hand; it never blocks others.
func (f *Follower) segment(ctx context.Context, g *errgroup.Group, d bus.Delivery, keepers []*keeper) error {
	partition, ok := bus.PartitionOf(d.Subject)
	if !ok || partition >= len(keepers) {
		f.undecodable(ctx, d, fmt.Errorf("subject %s: there are %d partitions", d.Subject, len(keepers)))
		return nil
	}
	k := keepers[partition]
	if d.Sequence <= k.passed {
		f.again(d)
		return nil
	}
	s, err := f.dispatch(ctx, g, d, partition)
	if err != nil {
		return err
	}
	return k.put(ctx, s)
}

// end returns the end of the stream when nothing of concern lies between next, the first sequence not read yet, and it:
// outcomes of no concern do not keep the stream from being trimmed. 0 when that is not so or not known. The stream's
// last sequence is older than the subjects' last ones, so nothing can have come in between unseen.
func (f *Follower) end(ctx context.Context, next uint64) uint64 {
	last, err := bus.LastSequences(ctx, f.opts.JetStream, bus.StreamOutcome)
	if err != nil {
		f.opts.Log.LogAttrs(ctx, slog.LevelWarn, "the end of the outcomes is not known", slog.Any("error", err))
		return 0
	}
	for partition := range f.opts.Partitions {
		if last.Subjects[bus.OutcomeSubject(bus.Notice, partition)] >= next {
			return 0
		}
	}
	return last.Sequence
}

func (f *Follower) next(ctx context.Context, r *bus.Reader) (bus.Delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, f.opts.Idle)
	defer cancel()
	return r.Next(ctx)
}

// dispatch plans each record of a segment, in order, and starts a handler for it. A record that cannot be read is reported
// and passed: it never blocks others.
func (f *Follower) dispatch(ctx context.Context, g *errgroup.Group, d bus.Delivery, partition int) (*segment, error) {
	weight := int64(min(len(d.Data), maxBytes))
	if err := f.bytes.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	s := newSegment(d.Sequence, d.Segment.Len(), func() { f.bytes.Release(weight) })
	if d.Err != nil {
		f.undecodable(ctx, d, d.Err)
	}
	for i := range d.Segment.Len() {
		item, err := itemOf(d, i, partition)
		if err != nil {
			f.undecodable(ctx, d, err)
			s.settled()
			continue
		}
		if err := f.slots.Acquire(ctx, 1); err != nil {
			return nil, err
		}
		item = f.opts.Handler.Plan(item)
		g.Go(func() error {
			defer f.slots.Release(1)
			if err := f.opts.Handler.Handle(ctx, item); err != nil {
				return err
			}
			s.settled()
			return nil
		})
	}
	return s, nil
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
