// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
)

// segment is a position the cursor may move to once all records before it are settled.
type segment struct {
	sequence uint64
	left     atomic.Int64
	done     chan struct{}
	release  func()
}

func newSegment(sequence uint64, records int, release func()) *segment {
	s := &segment{sequence: sequence, done: make(chan struct{}), release: release}
	s.left.Store(int64(records))
	if records == 0 {
		s.finish()
	}
	return s
}

// settled notes that one more record is settled.
func (s *segment) settled() {
	if s.left.Add(-1) == 0 {
		s.finish()
	}
}

func (s *segment) finish() {
	s.release()
	close(s.done)
}

func (s *segment) finished() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// keep moves the cursor behind the settled segments, in order. While one write is on its way others finish; the next
// write is for all of them.
func (f *Follower) keep(ctx context.Context, at bus.Cursor, queue <-chan *segment) error {
	var next *segment
	for {
		if next == nil {
			if next = <-queue; next == nil {
				return ctx.Err()
			}
		}
		select {
		case <-next.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		var last *segment
		var err error
		last, next = lastFinished(next, queue)
		if at, err = f.advance(ctx, at, last.sequence); err != nil {
			return err
		}
	}
}

// lastFinished takes further finished segments from the queue. It returns the last one and, when it met one, the first
// that is not finished.
func lastFinished(last *segment, queue <-chan *segment) (finished, next *segment) {
	for {
		select {
		case s := <-queue:
			if s == nil || !s.finished() {
				return last, s
			}
			last = s
		default:
			return last, nil
		}
	}
}

func (f *Follower) advance(ctx context.Context, at bus.Cursor, sequence uint64) (bus.Cursor, error) {
	return retry(ctx, f, "advance cursor", func(ctx context.Context) (bus.Cursor, error) {
		return f.opts.Cursors.Advance(ctx, at, sequence)
	})
}

// idle returns a position at the end of the stream when nothing of the partition lies before it that was not passed:
// outcomes of no concern do not keep the stream from being trimmed. Nil when there is nothing to gain.
func (f *Follower) idle(ctx context.Context, partition int, passed uint64) *segment {
	last, err := f.ends.last(ctx)
	if err != nil {
		f.opts.Log.LogAttrs(ctx, slog.LevelWarn, "the end of the outcomes is not known", slog.Any("error", err))
		return nil
	}
	if last.Sequence <= passed || last.Subjects[bus.OutcomeSubject(bus.Notice, partition)] > passed {
		return nil
	}
	return newSegment(last.Sequence, 0, func() {})
}

// ends asks for the end of the stream once for all partitions. The stream's last sequence is older than the subjects'
// last ones, so a somewhat old answer only says less, never something wrong.
type ends struct {
	js    jetstream.JetStream
	fresh time.Duration

	mu    sync.Mutex
	asked time.Time
	known bus.Last
}

func (e *ends) last(ctx context.Context) (bus.Last, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.asked) < e.fresh {
		return e.known, nil
	}
	last, err := bus.LastSequences(ctx, e.js, bus.StreamOutcome)
	if err != nil {
		return bus.Last{}, err
	}
	e.known, e.asked = last, time.Now()
	return last, nil
}
