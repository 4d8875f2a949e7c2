// SPDX-License-Identifier: Apache-2.0

// Package bodysweep deletes contents of the body store that nobody needs any more: those of messages that are final,
// and those that no record refers to because a crash came between them (queue.md, section 2).
//
// It decides by the status view, and only while that is not behind the queue. What a notification returns of a message
// lies in OUTCOME, so nothing but an attempt reads the body store. A content that is deleted too late costs disk, one
// that is deleted too early costs a message: where the view is in doubt nothing is deleted.
package bodysweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/postrider/postrider/kit/bodystore"
)

const (
	sweepEvery   = 10 * time.Second
	orphansEvery = time.Hour
	// grace is how long a content stays behind the end of its message, so that no attempt of an owner that has lost its
	// lease still reads it. What stays takes room from mail that is to be accepted.
	grace = 30 * time.Second
	// orphanAge is how long a content may be without a record: far longer than it takes to append one.
	orphanAge = 24 * time.Hour
	chunk     = 500
)

// View tells which contents are needed (internal/statusview). All methods return an error while it is behind the queue.
type View interface {
	// FinishedBodies returns contents by message id whose messages were final before a moment.
	FinishedBodies(ctx context.Context, before time.Time, most int) (map[string]string, error)
	// ForgetBodies notes that the contents of some messages were deleted.
	ForgetBodies(ctx context.Context, ids []string) error
	// Knows reports whether there is, or was lately, a message of that id.
	Knows(ctx context.Context, id string) (bool, error)
}

// Sweeper deletes contents.
type Sweeper struct {
	view   View
	bodies bodystore.Store
	log    *slog.Logger
	now    func() time.Time
}

// New returns a sweeper.
func New(view View, bodies bodystore.Store, log *slog.Logger, now func() time.Time) *Sweeper {
	return &Sweeper{view: view, bodies: bodies, log: log, now: now}
}

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) {
	finished, orphans := time.NewTicker(sweepEvery), time.NewTicker(orphansEvery)
	defer finished.Stop()
	defer orphans.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-finished.C:
			_, err = s.Finished(ctx)
		case <-orphans.C:
			_, err = s.Orphans(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "contents not swept", slog.String("error", err.Error()))
		}
	}
}

// Finished deletes contents of messages that are final, and returns how many.
func (s *Sweeper) Finished(ctx context.Context) (int, error) {
	total := 0
	for {
		refs, err := s.view.FinishedBodies(ctx, s.now().Add(-grace), chunk)
		if err != nil {
			return total, err
		}
		gone := make([]string, 0, len(refs))
		var failed error
		for id, ref := range refs {
			err := s.bodies.Delete(ctx, ref)
			if _, foreign := errors.AsType[*bodystore.RefError](err); err != nil && !foreign { // another store's is not ours
				failed = errors.Join(failed, fmt.Errorf("content of %s: %w", id, err))
				continue
			}
			gone = append(gone, id)
		}
		if err := s.view.ForgetBodies(ctx, gone); err != nil {
			return total, err
		}
		total += len(gone)
		if failed != nil || len(refs) < chunk {
			return total, failed
		}
	}
}

// Orphans deletes contents that have been without a message for a day, and returns how many.
func (s *Sweeper) Orphans(ctx context.Context) (int, error) {
	total := 0
	for entry, err := range s.bodies.List(ctx, s.now().Add(-orphanAge)) {
		if err != nil {
			return total, err
		}
		known, err := s.view.Knows(ctx, entry.ID)
		if err != nil {
			return total, err
		}
		if known {
			continue
		}
		if err := s.bodies.Delete(ctx, entry.Ref); err != nil {
			return total, fmt.Errorf("orphan %s: %w", entry.ID, err)
		}
		s.log.LogAttrs(ctx, slog.LevelInfo, "orphaned content deleted", slog.String("message_id", entry.ID),
			slog.Int64("size", entry.Size))
		total++
	}
	return total, nil
}
