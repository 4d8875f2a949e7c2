// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	"github.com/postrider/postrider/services/sender/internal/operators"
)

const (
	purgeEvery = time.Second
	trimEvery  = time.Minute
	// outcomesFor is how long outcomes are kept when there is room and notifications are done (queue.md, section 2).
	outcomesFor = 7 * 24 * time.Hour
)

// keepHouse counts the senders, and removes what is settled as long as this one owns partition 0.
func (q *queue) keepHouse(ctx context.Context) {
	tick := time.NewTicker(purgeEvery)
	defer tick.Stop()
	var purger *bus.Purger
	var trimmed time.Time
	for told := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		q.countSenders()
		stand, err := q.look(ctx)
		if err == nil && told {
			q.env.Log.LogAttrs(ctx, slog.LevelInfo, "the queue's store answers again")
		}
		if err != nil {
			if !told && ctx.Err() == nil { // once: every part of every partition waits for the same
				q.env.Log.LogAttrs(ctx, slog.LevelWarn, "the queue's store does not answer, it is tried again", slog.Any("error", err))
			}
			told = true
			continue
		}
		told = false
		if _, owned := q.keeper.Owned()[0]; !owned {
			purger = nil
			continue
		}
		if purger == nil {
			purger = bus.NewPurger(q.js, q.layout().Partitions)
		}
		crashpoint.At("sender.purge.before")
		err = purger.Purge(ctx, stand)
		crashpoint.At("sender.purge.after")
		if err == nil && time.Since(trimmed) >= trimEvery {
			trimmed = time.Now()
			err = errors.Join(q.trim(ctx), operators.Tidy(ctx, q.mirror, q.changes, q.layout().Partitions))
		}
		if err != nil && ctx.Err() == nil {
			q.env.Log.LogAttrs(ctx, slog.LevelWarn, "removing settled mail failed, it is tried again", slog.Any("error", err))
		}
	}
}

// look asks how full the store is, and returns how young a segment is never purged: less when it runs full.
func (q *queue) look(ctx context.Context) (stand time.Duration, err error) {
	sizes, err := bus.StreamSizes(ctx, q.js)
	if err != nil {
		return 0, err
	}
	total := uint64(0)
	for _, size := range sizes {
		total += size
	}
	most, disk := uint64(q.env.NATSConfig.MaxStore.Bytes()), 0
	if q.disk != nil {
		if disk, err = q.disk(); err != nil {
			return 0, err
		}
	}
	crowded := total >= most/100*crowdedStore && sizes[bus.StreamOutcome] > uint64(q.layout().OutcomeBytes)
	if q.space.set(crowded) {
		q.env.Log.LogAttrs(ctx, slog.LevelWarn, "the store is crowded with outcomes that wait for their notifications",
			slog.Bool("attempts_wait", crowded), slog.Uint64("bytes", total))
	}
	if total >= most/100*fullStore || disk > fullStore {
		return bus.ShortStand, nil
	}
	return bus.PurgeStand, nil
}

// trim removes outcomes that are old or too many, and never one that a notification or a fold may still need.
func (q *queue) trim(ctx context.Context) error {
	cursors, err := bus.OpenCursors(ctx, q.js)
	if err != nil {
		return err
	}
	partitions := q.layout().Partitions
	passed, err := cursors.Lowest(ctx, partitions)
	if err != nil {
		return err
	}
	_, err = bus.TrimOutcome(ctx, q.js, bus.TrimOptions{
		Partitions: partitions, OlderThan: outcomesFor, MaxBytes: q.layout().OutcomeBytes, NotPast: passed + 1,
	})
	return err
}
