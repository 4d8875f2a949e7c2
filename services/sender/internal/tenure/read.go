// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/intake"
	"github.com/postrider/postrider/services/sender/internal/progress"
)

const (
	// readAhead bounds what the server may have sent of MAIL and is not taken in.
	readAhead = 4 << 20
	// lookAgain is how often a RETRY stream is looked at though nothing is known to have been appended: an append whose
	// answer was lost may lie there.
	lookAgain = 5 * time.Second
	// soonDue is how long a segment is kept in hand until it is due; for longer only its sequence is.
	soonDue = 100 * time.Millisecond
	// readPause is the pause after an error, such as a server that is away.
	readPause = 500 * time.Millisecond
)

// readMail reads MAIL until ctx ends.
func (t *Tenure) readMail(ctx context.Context) {
	r, err := bus.NewReader(ctx, t.opts.JS, bus.ReaderOptions{
		Stream: bus.StreamMail, Subjects: t.subjects(bus.StreamMail), From: t.next(bus.StreamMail), MaxBytes: readAhead,
	})
	if err != nil {
		t.failUnless(ctx, err)
		return
	}
	defer func() { _ = r.Close() }()
	for {
		d, err := r.Next(ctx)
		if err == nil {
			err = t.take(ctx, d, time.Time{})
		}
		if err != nil {
			t.failUnless(ctx, err)
			return
		}
	}
}

// readRetry reads one RETRY stream until ctx ends. Of a segment that is not due it remembers the sequence and the due
// time, and reads it again then.
func (t *Tenure) readRetry(ctx context.Context, minutes int) {
	stream := bus.RetryStream(minutes)
	wait := time.Duration(minutes) * time.Minute
	var line due.Line
	for ctx.Err() == nil {
		var d bus.Delivery
		err := t.persist(ctx, func() (err error) {
			d, err = bus.ReadNext(ctx, t.opts.JS, stream, t.subjects(stream)[0], t.next(stream))
			return err
		})
		if errors.Is(err, bus.ErrNoMore) {
			t.sleep(ctx, lookAgain, t.appended[minutes])
			continue
		}
		if err == nil {
			err = t.whenDue(ctx, d, &line, wait)
		}
		if err != nil {
			t.failUnless(ctx, err)
			return
		}
	}
}

// whenDue takes a segment in when it is due.
func (t *Tenure) whenDue(ctx context.Context, d bus.Delivery, line *due.Line, wait time.Duration) error {
	if d.Segment.Len() == 0 && d.Err == nil {
		return t.take(ctx, d, time.Now()) // of a takeover: nothing waits in it
	}
	server, err := t.opts.Clock.Now(ctx)
	if err != nil {
		return err
	}
	at := line.Due(d.Time, wait, server, time.Now())
	left := time.Until(at)
	if left > soonDue {
		stream, sequence := d.Stream, d.Sequence
		domains, spilled := spilledTo(d)
		d = bus.Delivery{} // let its content go
		if spilled {
			t.waitForLanes(ctx, at, domains)
		} else {
			t.sleep(ctx, left, nil)
		}
		err := t.persist(ctx, func() (err error) {
			d, err = bus.ReadSegment(ctx, t.opts.JS, stream, sequence)
			return err
		})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			t.opts.Log.Error("a segment that waited is gone", slog.String("stream", stream), slog.Uint64("sequence", sequence))
			return nil
		}
		if err != nil {
			return err
		}
	} else {
		t.sleep(ctx, left, nil)
	}
	return t.take(ctx, d, at)
}

// persist repeats a read until it succeeds, ctx ends, or there is nothing to read. While the server is away it says so
// once.
func (t *Tenure) persist(ctx context.Context, read func() error) error {
	for told := false; ; told = true {
		err := read()
		if err == nil || ctx.Err() != nil || errors.Is(err, bus.ErrNoMore) || errors.Is(err, jetstream.ErrMsgNotFound) {
			return err
		}
		if !told {
			t.opts.Log.LogAttrs(ctx, t.trouble(), "reading retries failed, it is tried again", slog.Any("error", err))
		}
		t.sleep(ctx, readPause, nil)
	}
}

// trouble is the level of a failure that passes. Every reader of every partition fails while the server is away, which is
// told once for the process.
func (t *Tenure) trouble() slog.Level {
	if t.opts.JS.Conn().IsConnected() {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// sleep waits for a time, a signal, or the end of ctx.
func (t *Tenure) sleep(ctx context.Context, d time.Duration, signal <-chan struct{}) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-signal:
	case <-ctx.Done():
	}
}

// confirmed waits while an append to a RETRY stream is unconfirmed that may be the segment at sequence: of a record that
// was carried forward it must be known that it is the copy of one that is in an attempt here.
func (t *Tenure) confirmed(ctx context.Context, stream string, sequence uint64) error {
	minutes, ok := bus.RetryStreamMinutes(stream)
	for ok && ctx.Err() == nil {
		after, unconfirmed := t.retries[minutes].Unconfirmed()
		if !unconfirmed || sequence <= after {
			break
		}
		t.sleep(ctx, readPause/10, nil)
	}
	return ctx.Err()
}

// take waits for room, takes a segment in, and does with its records what is to be done.
func (t *Tenure) take(ctx context.Context, d bus.Delivery, dueAt time.Time) error {
	if err := t.waitForRoom(ctx, d.Stream, d.Segment.Len()+1, int64(len(d.Data))); err != nil {
		return err
	}
	if err := t.confirmed(ctx, d.Stream, d.Sequence); err != nil {
		return err
	}
	server, err := t.opts.Clock.Now(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	for t.claimed[d.Stream] == d.Sequence && !t.stopping { // a scan works on it
		t.mu.Unlock()
		if err := t.await(ctx, func() bool { return t.claimed[d.Stream] != d.Sequence || t.stopping }); err != nil {
			return err
		}
		t.mu.Lock()
	}
	if t.stopping {
		t.mu.Unlock()
		return errStopped
	}
	segment, todo := t.desk.Read(d, intake.Moment{Server: server, Local: time.Now(), Due: dueAt})
	records, again := t.enter(segment, todo)
	t.mu.Unlock()
	for _, r := range again {
		t.carry(r)
	}
	for i, disposition := range todo {
		if disposition.Kind != intake.Ours {
			t.dispose(records[i], disposition)
		}
	}
	return nil
}

// enter makes the records of what was read, and returns those of it that are to be carried again; t.mu is held.
func (t *Tenure) enter(segment *progress.Segment, todo []intake.Disposition) (records, again []*Record) {
	p := &page{segment: segment}
	if segment != nil {
		t.pages[segment] = p
	}
	records = make([]*Record, len(todo))
	for i, d := range todo {
		if d.Kind == intake.Ours {
			if r, carry := t.found(d.Place, p); carry {
				again = append(again, r)
			}
			continue
		}
		r := &Record{tenure: t, Place: d.Place, Mail: d.Mail, content: d.Content}
		switch d.Kind {
		case intake.Attempt, intake.Wait:
		case intake.Aside:
			t.setOff(r)
		default:
			r.stage = settling
			t.moving++
		}
		p.enter(r, d.Place)
		records[i] = r
	}
	return records, again
}

// next returns the first sequence of a stream that was not read.
func (t *Tenure) next(stream string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.desk.Next(stream)
}

// failUnless fails the tenure unless ctx ended.
func (t *Tenure) failUnless(ctx context.Context, err error) {
	if ctx.Err() == nil {
		t.fail(fmt.Errorf("read partition %d: %w", t.opts.Partition, err))
	}
}
