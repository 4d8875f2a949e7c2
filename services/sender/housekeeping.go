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
	// fullStore is the share of nats.max_store, in percent, from which segments are purged as young as bus.ShortStand.
	fullStore = 70
)

// keepHouse counts the senders, and removes what is settled as long as this one owns partition 0.
func (q *queue) keepHouse(ctx context.Context) {
	tick := time.NewTicker(purgeEvery)
	defer tick.Stop()
	var purger *bus.Purger
	var trimmed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		q.countSenders()
		if _, owned := q.keeper.Owned()[0]; !owned {
			purger = nil
			continue
		}
		if purger == nil {
			purger = bus.NewPurger(q.js, q.layout().Partitions)
		}
		crashpoint.At("sender.purge.before")
		err := purger.Purge(ctx, q.stand(ctx))
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

// stand is how young a segment is never purged: less when the store runs full.
func (q *queue) stand(ctx context.Context) time.Duration {
	account, err := q.js.AccountInfo(ctx)
	if err != nil || account.Store < uint64(q.env.NATSConfig.MaxStore.Bytes())/100*fullStore {
		return bus.PurgeStand
	}
	return bus.ShortStand
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
