// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/changes"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/operators"
	"github.com/postrider/postrider/services/sender/internal/park"
)

// Host is the owner of the partition, as far as a scan touches it.
type Host interface {
	// Unread returns the first sequence of a RETRY stream that was not read.
	Unread(stream string) uint64
	// Claim keeps the reader of a RETRY stream from a segment until Unclaim. It reports whether it was unread.
	Claim(stream string, sequence uint64) bool
	Unclaim(stream string)
	// State, Doubtful, Reopen, Noted and Gone are those of intake.Desk.
	State(p ledger.Place) (ledger.State, *eventv1.Outcome)
	Doubtful(stream string, sequence uint64) bool
	Reopen(p ledger.Place)
	Noted(stream string) []uint64
	Gone(stream string, sequence uint64)
	// Pin keeps the fold of a later owner at or below what is stored from now on, until it is called back.
	Pin() (unpin func())
	// Copy appends records to RETRY_0, all of them in one segment, and waits until they are stored.
	Copy(ctx context.Context, why string, frames []bus.Frame) error
	// SetAside stores what cannot be read in PARK.
	SetAside(ctx context.Context, p ledger.Place, raw []byte, fault error) error
	// Decided waits until every record that is on its way to PARK is stored there.
	Decided(ctx context.Context) error
	// Recall lets what waits in memory, in lanes or for less than a minute, be judged anew. With now what the change
	// means is attempted at once.
	Recall(change *eventv1.Change)
	// Renew renews the lease of the partition.
	Renew(ctx context.Context) error
	// Quiet reports whether everything read before a moment of the server's clock is settled.
	Quiet(before time.Time) bool
}

// Options of a scanner. All are required.
type Options struct {
	JS        jetstream.JetStream
	Partition int
	// Minutes are the RETRY streams that exist.
	Minutes  []int
	Host     Host
	Mirror   *changes.Mirror
	Store    *bus.Changes
	Book     *operators.Book
	Schedule park.Schedule
	Now      func() time.Time // the server's clock
	// SweepEvery is how often PARK is gone through for what expires, or is not held any more.
	SweepEvery time.Duration
	Log        *slog.Logger
}

const (
	// againPause is the pause after an error, such as a server that is away.
	againPause = 500 * time.Millisecond
	// tidyEvery is how often it is looked whether changes are still needed.
	tidyEvery = 10 * time.Second
)

// Scanner carries out changes on the waiting mail of a partition. It is for one goroutine.
type Scanner struct {
	Options
	seen      map[string]bool // changes what waits in memory was judged by
	revisions map[string]uint64
	finishing map[string]*finish
	looks     map[uint64]time.Time // when a segment of PARK has to be looked at again
	stirred   bool                 // operators have changed something since the last sweep
}

// New returns a scanner.
func New(o Options) *Scanner {
	return &Scanner{
		Options: o, seen: make(map[string]bool), revisions: make(map[string]uint64), finishing: make(map[string]*finish),
	}
}

// Run works until ctx ends.
func (s *Scanner) Run(ctx context.Context) {
	if s.persist(ctx, "copy on what a former owner began with", s.finishParked) != nil {
		return
	}
	swept, tidied := time.Now(), time.Now()
	for ctx.Err() == nil {
		changed := s.Mirror.Changed()
		s.round(ctx)
		if time.Since(tidied) >= tidyEvery {
			s.tidy(ctx)
			tidied = time.Now()
		}
		if time.Since(swept) >= s.SweepEvery {
			_ = s.persist(ctx, "go through PARK", s.Sweep)
			swept = time.Now()
		}
		wait := time.NewTimer(min(tidyEvery, s.SweepEvery))
		select {
		case <-changed:
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
}

// round carries out, in their order, the changes that are not.
func (s *Scanner) round(ctx context.Context) {
	there := make(map[string]bool)
	for _, e := range s.Mirror.List() {
		there[e.GetId()] = true
		if !s.seen[e.GetId()] {
			s.seen[e.GetId()], s.stirred = true, true
			s.Host.Recall(e.Change)
		}
		if !changes.Scans(e.GetAction()) || s.done(e.Change) {
			continue
		}
		err := s.persist(ctx, "carry out change "+e.GetId(), func(ctx context.Context) error { return s.carryOut(ctx, e.Change) })
		if err != nil {
			return
		}
	}
	s.forget(there)
}

func (s *Scanner) forget(there map[string]bool) {
	for id := range s.seen {
		if !there[id] {
			delete(s.seen, id)
			delete(s.revisions, id)
			delete(s.finishing, id)
		}
	}
	s.Book.Keep(func(id string) bool { return there[id] })
}

// persist repeats what fails until it succeeds or ctx ends; then it returns the error of ctx.
func (s *Scanner) persist(ctx context.Context, what string, do func(context.Context) error) error {
	for told := false; ; told = true {
		err := do(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if !told {
			s.Log.Warn("operators' changes: it is tried again", slog.String("what", what), slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(againPause):
		}
	}
}

// streams returns the RETRY streams a change is looked for in. What lies in RETRY_0 is due.
func (s *Scanner) streams(c *eventv1.Change) []string {
	switch c.GetAction() {
	case eventv1.ChangeAction_CHANGE_ACTION_CANCEL, eventv1.ChangeAction_CHANGE_ACTION_RETRY_NOW:
	default:
		return nil // what is held or suspended lies in PARK
	}
	var streams []string
	for _, m := range s.Minutes {
		if m > 0 {
			streams = append(streams, bus.RetryStream(m))
		}
	}
	return streams
}

// parks reports whether a change is looked for in PARK.
func parks(c *eventv1.Change) bool {
	return c.GetAction() != eventv1.ChangeAction_CHANGE_ACTION_RETRY_NOW
}

// done reports whether everything a change is looked for in was gone through.
func (s *Scanner) done(c *eventv1.Change) bool {
	progress := s.Book.Progress(c.GetId())
	for _, stream := range s.streams(c) {
		if !streamDone(progress, stream) {
			return false
		}
	}
	return !parks(c) || streamDone(progress, bus.StreamPark)
}

func streamDone(progress *eventv1.Change, stream string) bool {
	for _, p := range progress.GetProgress() {
		if p.GetStream() == stream && p.GetDone() {
			return true
		}
	}
	return false
}

func (s *Scanner) carryOut(ctx context.Context, c *eventv1.Change) error {
	for _, stream := range s.streams(c) {
		if streamDone(s.Book.Progress(c.GetId()), stream) {
			continue
		}
		if err := s.scanRetry(ctx, c, stream); err != nil {
			return fmt.Errorf("scan %s: %w", stream, err)
		}
	}
	if !parks(c) || streamDone(s.Book.Progress(c.GetId()), bus.StreamPark) {
		return nil
	}
	if err := s.Host.Decided(ctx); err != nil {
		return err
	}
	for _, subject := range s.parkSubjects(c) {
		means := func(m *eventv1.QueuedMail) bool { return s.Book.Matches(m, c.GetId()) }
		if err := s.scanPark(ctx, subject, means); err != nil {
			return fmt.Errorf("scan %s: %w", bus.StreamPark, err)
		}
	}
	return s.finished(ctx, c, bus.StreamPark)
}

func (s *Scanner) parkSubjects(c *eventv1.Change) []string {
	var subjects []string
	for _, d := range c.GetDestinations() {
		if d == changes.Everything {
			return []string{bus.ParkSubjects(s.Partition)}
		}
		subjects = append(subjects, bus.ParkSubject(s.Partition, d))
	}
	if len(subjects) == 0 {
		return []string{bus.ParkSubjects(s.Partition)}
	}
	return subjects
}

// end returns the last sequence on a subject, 0 when there is nothing.
func (s *Scanner) end(ctx context.Context, stream, subject string) (uint64, error) {
	return bus.LastOfSubject(ctx, s.JS, stream, subject)
}

// none says that a read found nothing further.
func none(err error) bool { return errors.Is(err, bus.ErrNoMore) }
