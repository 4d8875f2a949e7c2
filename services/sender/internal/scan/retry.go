// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

// span is what a scan has passed of a stream without a gap, as it stands in the progress.
type span struct {
	progress *eventv1.Change
	at       *eventv1.ScanProgress
}

// spanOf returns the last span of a stream; its at is nil before the first.
func (s *Scanner) spanOf(c *eventv1.Change, stream string) span {
	p := s.Book.Progress(c.GetId())
	if p == nil {
		p = &eventv1.Change{Id: c.GetId()}
	}
	x := span{progress: proto.CloneOf(p)}
	for _, at := range x.progress.GetProgress() {
		if at.GetStream() == stream {
			x.at = at
		}
	}
	return x
}

// next returns where the scan goes on, at or behind what the reader has left. When the reader has overtaken it, a new
// span begins: what was read in between is in work, and not to be skipped.
func (x *span) next(unread uint64, stream string, partition int) uint64 {
	if x.at != nil && unread <= x.at.GetSequence()+1 {
		return x.at.GetSequence() + 1
	}
	x.at = &eventv1.ScanProgress{Partition: uint32(partition), Stream: stream, First: unread, Sequence: unread - 1}
	x.progress.Progress = append(x.progress.Progress, x.at)
	return unread
}

// scanRetry goes through a RETRY stream up to where it ends now.
func (s *Scanner) scanRetry(ctx context.Context, c *eventv1.Change, stream string) error {
	minutes, _ := bus.RetryStreamMinutes(stream)
	subject := bus.RetrySubject(minutes, s.Partition)
	end, err := s.end(ctx, stream, subject)
	if err != nil {
		return err
	}
	x := s.spanOf(c, stream)
	for {
		from := x.next(max(s.Host.Unread(stream), 1), stream, s.Partition)
		d, err := bus.ReadNext(ctx, s.JS, stream, subject, from)
		if none(err) || err == nil && d.Sequence > end {
			break
		}
		if err != nil {
			return err
		}
		if !s.Host.Claim(stream, d.Sequence) {
			continue // it has come due meanwhile
		}
		err = s.copyMatching(ctx, c, d, &x)
		s.Host.Unclaim(stream)
		if err != nil {
			return err
		}
	}
	return s.finished(ctx, c, stream)
}

// copyMatching copies what a change means of one segment that nobody has read, and then stores that the scan has passed
// it.
func (s *Scanner) copyMatching(ctx context.Context, c *eventv1.Change, d bus.Delivery, x *span) error {
	var copies []bus.Frame
	var copied []ledger.Place // by a former owner that has not stored the progress
	for i := range d.Segment.Len() {
		frame, err := d.Segment.Frame(i)
		if err != nil {
			continue // the reader's to hold
		}
		mail, err := frame.Mail()
		if err != nil || mail.GetMovedFor() == settle.ForCarry || !s.Book.Matches(mail, c.GetId()) {
			continue // what was carried forward is in an attempt, or its owner died and it is due within minutes
		}
		p := ledger.Place{Stream: d.Stream, Sequence: d.Sequence, Index: i}
		if s.Book.Copied(mail, p) {
			continue // for another change
		}
		next := s.copyOf(mail, p)
		if next == nil {
			copied = append(copied, p)
			continue
		}
		f, err := bus.FrameMail(next, frame.Content)
		if err != nil {
			return err
		}
		copies = append(copies, f)
	}
	x.at.Sequence = d.Sequence
	if len(copies)+len(copied) == 0 {
		return nil
	}
	unpin := s.Host.Pin() // for good, unless all of this is stored
	if len(copies) > 0 {
		crashpoint.At("sender.scan.before")
		if err := s.Host.Copy(ctx, settle.ForScan, copies); err != nil {
			return err
		}
		crashpoint.At("sender.scan.copied")
	}
	// From here on the segment must not be gone through again.
	err := s.persist(ctx, "store the progress of a scan", func(ctx context.Context) error { return s.save(ctx, x.progress) })
	if err != nil {
		return err
	}
	crashpoint.At("sender.scan.saved")
	for _, p := range copied {
		s.Host.Reopen(p)
	}
	unpin()
	return nil
}

// copyOf returns the copy of a record, nil when it is settled. Of one that was attempted by a former owner that has stored
// the outcome and not what follows from it, that is what follows.
func (s *Scanner) copyOf(mail *eventv1.QueuedMail, p ledger.Place) *eventv1.QueuedMail {
	state, outcome := s.Host.State(p)
	switch state {
	case ledger.Settled:
		return nil
	case ledger.Deferred:
		next := settle.Retry(mail, p, outcome, due.Wait{})
		next.MovedFor = settle.ForScan
		return next
	}
	next := settle.Copy(mail, p, settle.ForScan, due.Wait{})
	next.PossibleDuplicate = next.GetPossibleDuplicate() || s.Host.Doubtful(p.Stream, p.Sequence)
	return next
}

// finished stores that a stream was gone through.
func (s *Scanner) finished(ctx context.Context, c *eventv1.Change, stream string) error {
	x := s.spanOf(c, stream)
	if x.at == nil {
		x.at = &eventv1.ScanProgress{Partition: uint32(s.Partition), Stream: stream, First: 1}
		x.progress.Progress = append(x.progress.Progress, x.at)
	}
	x.at.Done = true
	return s.save(ctx, x.progress)
}

// save stores progress. When somebody else has written it, that was a former owner whose copies are known here, or an
// earlier try of ours: what is to be stored covers both. A revision that was read counts only if the lease is renewed
// after that: so a former owner that does not know that it is one cannot put its progress over a later one's.
func (s *Scanner) save(ctx context.Context, progress *eventv1.Change) error {
	id := progress.GetId()
	for range 2 {
		revision, known := s.revisions[id]
		if !known {
			var err error
			if _, revision, err = s.Store.Progress(ctx, id, s.Partition); err != nil {
				return err
			}
			if err := s.Host.Renew(ctx); err != nil {
				return err
			}
		}
		next, err := s.Store.SaveProgress(ctx, s.Partition, progress, revision)
		if err == nil {
			s.revisions[id] = next
			s.Book.Note(progress)
			return nil
		}
		delete(s.revisions, id)
		if !errors.Is(err, bus.ErrProgressMoved) {
			return err
		}
	}
	return fmt.Errorf("change %s: %w", id, bus.ErrProgressMoved)
}
