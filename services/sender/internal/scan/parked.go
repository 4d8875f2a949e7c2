// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/park"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

// scanPark goes through subjects of PARK up to where they end now, and takes out the segments with a record that means
// wants.
func (s *Scanner) scanPark(ctx context.Context, subject string, means func(*eventv1.QueuedMail) bool) error {
	end, err := s.end(ctx, bus.StreamPark, subject)
	if err != nil {
		return err
	}
	for from := uint64(1); ; {
		d, err := bus.ReadNext(ctx, s.JS, bus.StreamPark, subject, from)
		if none(err) || err == nil && d.Sequence > end {
			return nil
		}
		if err != nil {
			return err
		}
		if from = d.Sequence + 1; !contains(d, means) {
			continue
		}
		if err := s.takeOut(ctx, d, means); err != nil {
			return err
		}
	}
}

func contains(d bus.Delivery, means func(*eventv1.QueuedMail) bool) bool {
	for i := range d.Segment.Len() {
		if frame, err := d.Segment.Frame(i); err == nil {
			if mail, err := frame.Mail(); err == nil && mail.GetMessageId() != "" && means(mail) {
				return true
			}
		}
	}
	return false
}

// takeOut copies all records of a segment of PARK to RETRY_0 and deletes it. What is not meant comes back to PARK from
// there; it keeps the reason it lay here for when the sender had set it aside by itself.
func (s *Scanner) takeOut(ctx context.Context, d bus.Delivery, means func(*eventv1.QueuedMail) bool) error {
	var copies []bus.Frame
	unpin := s.Host.Pin() // for good, unless all of this is stored
	for i := range d.Segment.Len() {
		p := ledger.Place{Stream: d.Stream, Sequence: d.Sequence, Index: i}
		if state, _ := s.Host.State(p); state == ledger.Settled {
			continue
		}
		f, err := s.out(ctx, d, p, means)
		if err != nil {
			unpin()
			return err
		}
		if f != nil {
			copies = append(copies, *f)
		}
	}
	if len(copies) > 0 {
		crashpoint.At("sender.unpark.before")
		if err := s.Host.Copy(ctx, settle.ForScan, copies); err != nil {
			return err
		}
		crashpoint.At("sender.unpark.copied")
	}
	// From here on the segment must not be copied again.
	err := s.persist(ctx, "delete a segment of PARK", func(ctx context.Context) error {
		return bus.DeleteParked(ctx, s.JS, d.Sequence)
	})
	if err != nil {
		return err
	}
	crashpoint.At("sender.unpark.deleted")
	s.Host.Gone(bus.StreamPark, d.Sequence)
	unpin()
	return nil
}

// out returns the copy of one record, nil when it was stored in PARK once more since it cannot be read.
func (s *Scanner) out(
	ctx context.Context, d bus.Delivery, p ledger.Place, means func(*eventv1.QueuedMail) bool,
) (*bus.Frame, error) {
	frame, err := d.Segment.Frame(p.Index)
	if err != nil {
		return nil, err
	}
	mail, err := frame.Mail()
	if err != nil || mail.GetMessageId() == "" {
		_, raw := bus.EncodeSegment([]bus.Frame{frame})
		return nil, s.Host.SetAside(ctx, p, raw, err)
	}
	why := settle.ForScan
	if mail.GetMovedFor() == settle.ForHold && !means(mail) {
		why = settle.ForHold
	}
	f, err := bus.FrameMail(settle.FromPark(mail, p, why), frame.Content)
	return &f, err
}

// finishParked takes out the segments of PARK that a former owner has copied and not deleted.
func (s *Scanner) finishParked(ctx context.Context) error {
	for _, sequence := range s.Host.Noted(bus.StreamPark) {
		d, err := bus.ReadSegment(ctx, s.JS, bus.StreamPark, sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			s.Host.Gone(bus.StreamPark, sequence)
			continue
		}
		if err == nil {
			err = s.takeOut(ctx, d, func(*eventv1.QueuedMail) bool { return false })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Sweep goes through PARK and takes out what expires, whose sender is to be told of the delay, or that nothing holds any
// more. Segments in which nothing is due before a known moment are not read again until then.
func (s *Scanner) Sweep(ctx context.Context) error {
	subject := bus.ParkSubjects(s.Partition)
	end, err := s.end(ctx, bus.StreamPark, subject)
	if err != nil {
		return err
	}
	now := s.Now()
	looks := make(map[uint64]time.Time, len(s.looks))
	for from := uint64(1); from <= end; {
		if look, known := s.looks[from]; known && look.After(now) && !s.stirred {
			looks[from] = look
			from++
			continue
		}
		d, err := bus.ReadNext(ctx, s.JS, bus.StreamPark, subject, from)
		if none(err) {
			break
		}
		if err != nil {
			return err
		}
		from = d.Sequence + 1
		leaves := func(m *eventv1.QueuedMail) bool {
			return park.Decide(m, s.Book.Standing(m), s.Schedule, now).Kind != park.Stay
		}
		if !contains(d, leaves) {
			looks[d.Sequence] = s.nextLook(d, now)
			continue
		}
		if err := s.takeOut(ctx, d, func(*eventv1.QueuedMail) bool { return false }); err != nil {
			return err
		}
	}
	s.looks, s.stirred = looks, false
	return nil
}

// nextLook returns when the first record of a segment may leave PARK by itself.
func (s *Scanner) nextLook(d bus.Delivery, now time.Time) time.Time {
	first := now.Add(longestLook)
	for i := range d.Segment.Len() {
		frame, err := d.Segment.Frame(i)
		if err != nil {
			continue
		}
		if mail, err := frame.Mail(); err == nil && mail.GetMessageId() != "" {
			if at := park.Leaves(mail, s.Schedule); at.Before(first) {
				first = at
			}
		}
	}
	return first
}

// longestLook is after how long a segment of PARK is looked at again at the latest.
const longestLook = 24 * time.Hour
