// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/changes"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// A change that was carried out may still be needed: by originals that are skipped because of it, and, if it is a cancel,
// by mail that was in work when it came. It has passed when all that was read before it is settled, and after that all
// that lay in the RETRY streams.

// finish is how far a change is on that way. It is forgotten with the owner, and then begun anew.
type finish struct {
	since time.Time         // when the change was first seen carried out, by the server's clock
	ends  map[string]uint64 // where the streams ended when everything older was settled
	mail  uint64            // where MAIL ended at since
}

// tidy looks which changes have passed, and stores that.
func (s *Scanner) tidy(ctx context.Context) {
	for _, e := range s.Mirror.List() {
		if !changes.Scans(e.GetAction()) || !s.done(e.Change) || s.Book.Progress(e.GetId()).GetPassed() {
			continue
		}
		passed, err := s.passed(ctx, e.Change)
		if passed && err == nil {
			progress := proto.CloneOf(s.Book.Progress(e.GetId()))
			progress.Passed = true
			err = s.save(ctx, progress)
		}
		if err != nil && ctx.Err() == nil {
			s.Log.Warn("it cannot be told whether a change is still needed", slog.String("change", e.GetId()), slog.Any("error", err))
			return
		}
	}
}

func (s *Scanner) passed(ctx context.Context, c *eventv1.Change) (bool, error) {
	streams := s.streams(c)
	if len(streams) == 0 {
		return true, nil // only PARK was gone through
	}
	f := s.finishing[c.GetId()]
	if f == nil {
		mail, err := s.end(ctx, bus.StreamMail, bus.MailSubject(s.Partition))
		if err != nil {
			return false, err
		}
		s.finishing[c.GetId()] = &finish{since: s.Now(), mail: mail}
		return false, nil
	}
	floors, err := s.floors(ctx)
	if err != nil {
		return false, err
	}
	if f.ends == nil {
		if floors[bus.StreamMail] <= f.mail || !s.Host.Quiet(f.since) {
			return false, nil
		}
		f.ends = make(map[string]uint64)
		for _, m := range s.Minutes {
			stream := bus.RetryStream(m)
			if f.ends[stream], err = s.end(ctx, stream, bus.RetrySubject(m, s.Partition)); err != nil {
				f.ends = nil
				return false, err
			}
		}
	}
	for stream, end := range f.ends {
		if floors[stream] <= end {
			return false, nil
		}
	}
	return true, nil
}

// floors returns the stored floors of the partition.
func (s *Scanner) floors(ctx context.Context) (map[string]uint64, error) {
	c, err := bus.LastCheckpoint(ctx, s.JS, s.Partition)
	if err != nil {
		return nil, err
	}
	floors := make(map[string]uint64)
	for _, f := range c.GetFloors() {
		floors[f.GetStream()] = f.GetSequence()
	}
	return floors, nil
}
