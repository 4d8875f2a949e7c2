// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postrider/postrider/kit/bus"
)

// Run folds the streams until ctx ends. It returns nil then, and an error when it cannot go on: a stream is gone or the
// file cannot be written.
func (v *View) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	deliveries := make(chan bus.Delivery, 16)
	for _, stream := range v.streams {
		group.Go(func() error { return v.readStream(ctx, stream, deliveries) })
	}
	group.Go(func() error { return v.watchEnds(ctx) })
	group.Go(func() error { return v.foldAll(ctx, deliveries) })
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// readStream hands on one stream from its position.
func (v *View) readStream(ctx context.Context, stream string, out chan<- bus.Delivery) error {
	r, err := v.openReader(ctx, stream)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	for {
		d, err := r.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case out <- d:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// openReader begins behind the position. While the server is away it tries again.
func (v *View) openReader(ctx context.Context, stream string) (*bus.Reader, error) {
	from := v.lag.position(stream) + 1
	for {
		r, err := bus.NewReader(ctx, v.o.JS, bus.ReaderOptions{Stream: stream, From: from, MaxBytes: readBytes})
		if err == nil {
			return r, nil
		}
		if _, ahead := errors.AsType[*bus.AheadError](err); ahead {
			return nil, err
		}
		if err := pause(ctx, observeEvery); err != nil {
			return nil, err
		}
	}
}

// foldAll folds what the readers hand on, in batches.
func (v *View) foldAll(ctx context.Context, in <-chan bus.Delivery) error {
	b, err := newBatch(ctx, v.db)
	if err != nil {
		return err
	}
	defer b.close()
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	if err := v.prune(ctx); err != nil {
		return err
	}
	for {
		select {
		case d := <-in:
			if err := b.fold(ctx, d); err != nil {
				return err
			}
			if err := v.collect(ctx, b, in); err != nil {
				return err
			}
			if err := v.commit(ctx, b); err != nil {
				return err
			}
		case <-prune.C:
			if err := v.prune(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// collect folds on into the same batch until it is full, old, or nothing comes.
func (v *View) collect(ctx context.Context, b *batch, in <-chan bus.Delivery) error {
	full := time.NewTimer(batchPause)
	defer full.Stop()
	idle := time.NewTimer(idlePause)
	defer idle.Stop()
	for b.rows() < batchRows {
		select {
		case d := <-in:
			if err := b.fold(ctx, d); err != nil {
				return err
			}
			idle.Reset(idlePause)
		case <-idle.C:
			return nil
		case <-full.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (v *View) commit(ctx context.Context, b *batch) error {
	positions := make(map[string]uint64, len(b.positions))
	for stream, sequence := range b.positions {
		positions[stream] = sequence
	}
	if err := b.commit(ctx); err != nil {
		return err
	}
	if b.corrupt > 0 {
		v.o.Log.LogAttrs(ctx, slog.LevelError, "records that cannot be decoded are not in the status view",
			slog.Int("records", b.corrupt))
		b.corrupt = 0
	}
	v.lag.reached(positions)
	v.committed()
	return nil
}

// watchEnds looks where the streams end. While they cannot be asked the lag grows.
func (v *View) watchEnds(ctx context.Context) error {
	for {
		at := v.o.Now()
		askCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
		last, err := v.foldable(askCtx)
		cancel()
		if err == nil {
			v.lag.observe(at, last)
		}
		if err := pause(ctx, observeEvery); err != nil {
			return err
		}
	}
}

// pause waits, or returns the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("status view: %w", ctx.Err())
	}
}
