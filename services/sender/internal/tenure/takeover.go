// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/intake"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/progress"
)

// linger is how long a segment of results waits to be filled. Nobody waits for them.
const linger = 2 * time.Millisecond

// parkLinger is the same for PARK, where a segment holds one destination and many small ones would be made.
const parkLinger = 20 * time.Millisecond

// maxWaiting bounds what waits to be appended, in bytes. It is more than the window can bring, so that settling is never
// refused for want of room here.
const maxWaiting = 1 << 30

// takeOver fences the former owner off and then finds out what it has settled.
func (t *Tenure) takeOver(ctx context.Context) (*bus.Taken, error) {
	o := t.opts
	minutes, err := bus.RetryStreams(ctx, o.JS)
	if err != nil {
		return nil, err
	}
	t.minutes = minutes
	// What the former owner can have read of MAIL lies at or below what stands there now: it reads nothing more,
	// as its lease is over.
	mail, err := bus.LastSequences(ctx, o.JS, bus.StreamMail)
	if err != nil {
		return nil, err
	}
	taken, err := bus.TakeOver(ctx, o.JS, o.Partition, bus.TakeOverOptions{
		Owner: o.Owner, LeaseRevision: o.Lease.Revision(), Confirm: t.renew, RetryMinutes: minutes,
	})
	if err != nil {
		return nil, err
	}
	crashpoint.At("sender.takeover.fenced")
	// Only now: what the former owner has stored of scans before it was fenced off is to be known here.
	if err := o.Operators.Mirror.CatchUp(ctx); err != nil {
		return nil, err
	}
	past, err := t.fold(ctx, taken)
	if err != nil {
		return nil, fmt.Errorf("fold partition %d: %w", o.Partition, err)
	}
	last := map[string]uint64{bus.StreamMail: mail.Subjects[bus.MailSubject(o.Partition)]}
	for _, m := range minutes {
		last[bus.RetryStream(m)] = taken.Fences[bus.RetrySubject(m, o.Partition)].Last()
	}
	t.desk = intake.New(intake.Options{
		Minutes: minutes, Window: o.Limits.Window, Former: taken.Checkpoint, Last: last, Ledger: past,
		Rules: t.rules,
	})
	return taken, t.reach(ctx, taken)
}

// reach notes how far the folded streams have come: what this owner stores lies above.
func (t *Tenure) reach(ctx context.Context, taken *bus.Taken) error {
	for _, f := range taken.Fences {
		stream, _ := bus.StreamOf(f.Subject())
		t.desk.Reached(stream, f.Last())
	}
	park, err := t.opts.JS.Stream(ctx, bus.StreamPark)
	if err != nil {
		return fmt.Errorf("state of stream %s: %w", bus.StreamPark, err)
	}
	t.desk.Reached(bus.StreamPark, park.CachedInfo().State.LastSeq)
	_, err = t.opts.Clock.Now(ctx)
	return err
}

// fold reads what former owners stored, moves before outcomes.
func (t *Tenure) fold(ctx context.Context, taken *bus.Taken) (*ledger.Ledger, error) {
	past := ledger.New(progress.Floors(taken.Checkpoint.GetFloors()))
	begin := progress.Floors(taken.Checkpoint.GetFold())
	streams := intake.Folded(t.minutes)
	moves := streams[:len(streams)-1]

	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make([]error, len(moves))
	for i, stream := range moves {
		wg.Go(func() {
			errs[i] = t.foldStream(ctx, stream, begin[stream], func(f bus.Frame) error {
				m, err := f.Mail()
				for _, source := range append([]*eventv1.Source{m.GetSource()}, m.GetSettles()...) {
					if p, ok := ledger.PlaceOf(source); err == nil && ok {
						mu.Lock()
						past.Moved(p)
						mu.Unlock()
					}
				}
				return err
			})
		})
	}
	wg.Wait()
	outcomes := t.foldStream(ctx, bus.StreamOutcome, begin[bus.StreamOutcome], func(f bus.Frame) error {
		o, err := f.Outcome()
		if err == nil {
			past.Outcome(o)
		}
		return err
	})
	return past, errors.Join(errors.Join(errs...), outcomes)
}

// foldStream hands fn every record of the partition that stands in a stream from a sequence on. One that cannot be
// read settles nothing: its source is attempted again, which is told loudly.
func (t *Tenure) foldStream(ctx context.Context, stream string, from uint64, fn func(bus.Frame) error) error {
	r, err := bus.NewReader(ctx, t.opts.JS, bus.ReaderOptions{
		Stream: stream, Subjects: t.subjects(stream), From: from,
	})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	return r.ReadToEnd(ctx, func(d bus.Delivery) error {
		if d.Err != nil {
			t.unfoldable(d, d.Err)
		}
		for i := range d.Segment.Len() {
			f, err := d.Segment.Frame(i)
			if err == nil {
				err = fn(f)
			}
			if err != nil {
				t.unfoldable(d, err)
			}
		}
		return nil
	})
}

func (t *Tenure) unfoldable(d bus.Delivery, err error) {
	t.opts.Log.Error("a stored result cannot be read; its mail may be sent twice",
		slog.String("stream", d.Stream), slog.Uint64("sequence", d.Sequence), slog.Any("error", err))
}

// subjects returns the subjects of the partition in a stream.
func (t *Tenure) subjects(stream string) []string {
	p := t.opts.Partition
	if m, ok := bus.RetryStreamMinutes(stream); ok {
		return []string{bus.RetrySubject(m, p)}
	}
	switch stream {
	case bus.StreamMail:
		return []string{bus.MailSubject(p)}
	case bus.StreamPark:
		return []string{bus.ParkSubjects(p)}
	default:
		return []string{bus.OutcomeSubject(bus.Quiet, p), bus.OutcomeSubject(bus.Notice, p)}
	}
}

func (t *Tenure) openAppenders(taken *bus.Taken) {
	options := func(subject string) bus.AppenderOptions {
		return bus.AppenderOptions{
			Fence: taken.Fences[subject], Linger: linger, RetryFor: bus.Forever, MaxWaitingBytes: maxWaiting,
			OnRefused: func(ctx context.Context, _ error) error { return t.renew(ctx) },
			Observe:   t.stored,
		}
	}
	for _, kind := range []bus.OutcomeKind{bus.Quiet, bus.Notice} {
		o := options(bus.OutcomeSubject(kind, t.opts.Partition))
		o.Header = func(h nats.Header) { t.putCheckpoint(kind, h) }
		o.Observe = func(s bus.Stored) {
			t.stored(s)
			t.checkpointStored(kind, s.Sequence)
		}
		t.outcomes[kind] = bus.NewAppender(t.opts.JS, o)
	}
	parks := options(bus.ParkFence(t.opts.Partition))
	parks.Linger = parkLinger
	t.parks = bus.NewAppender(t.opts.JS, parks)
	for _, m := range t.minutes {
		t.appended[m] = make(chan struct{}, 1)
		t.retries[m] = bus.NewAppender(t.opts.JS, options(bus.RetrySubject(m, t.opts.Partition)))
	}
}

// renew renews the lease. While the server cannot be asked it tries again, as long as the lease is not lost: only a
// lost lease must end a fenced append.
func (t *Tenure) renew(ctx context.Context) error {
	for {
		err := t.right().Renew(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-t.right().Lost():
			return err
		case <-ctx.Done():
			return err
		case <-time.After(renewAgain):
		}
	}
}

const renewAgain = 200 * time.Millisecond

// stored is told of each segment this owner has appended.
func (t *Tenure) stored(s bus.Stored) {
	t.mu.Lock()
	t.desk.Reached(s.Stream, s.Sequence)
	t.mu.Unlock()
	if m, ok := bus.RetryStreamMinutes(s.Stream); ok {
		select {
		case t.appended[m] <- struct{}{}:
		default:
		}
	}
}

// putCheckpoint puts the checkpoint into the header of an OUTCOME segment.
func (t *Tenure) putCheckpoint(kind bus.OutcomeKind, h nats.Header) {
	if err := bus.SetCheckpoint(h, t.checkpoint(kind)); err != nil {
		t.fail(fmt.Errorf("checkpoint: %w", err))
	}
}
