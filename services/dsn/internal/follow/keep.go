// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"context"
	"sync/atomic"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
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

// keeper is the way to the goroutine that keeps one partition's cursor. It is for the reader's goroutine.
type keeper struct {
	// passed is the last sequence handed over.
	passed uint64
	queue  chan *segment
}

// put hands a segment over; it waits while too many wait.
func (k *keeper) put(ctx context.Context, s *segment) error {
	select {
	case k.queue <- s:
		k.passed = s.sequence
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mark lets the cursor move up to a sequence below which all segments of the partition were handed over.
func (k *keeper) mark(ctx context.Context, sequence uint64) error {
	if sequence <= k.passed {
		return nil
	}
	return k.put(ctx, newSegment(sequence, 0, func() {}))
}

// keep moves the cursor behind the settled segments, in order. While one write is on its way others finish; the next
// write is for all of them.
func (f *Follower) keep(ctx context.Context, at bus.Cursor, queue <-chan *segment) error {
	var next *segment
	for {
		if next == nil {
			select {
			case next = <-queue:
			case <-ctx.Done():
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
			if !s.finished() {
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
		crashpoint.At("dsn.cursor.before")
		defer crashpoint.At("dsn.cursor.after")
		next, err := f.opts.Cursors.Advance(ctx, at, sequence)
		if err == nil {
			f.stored[at.Partition].Store(next.Sequence)
		}
		return next, err
	})
}
