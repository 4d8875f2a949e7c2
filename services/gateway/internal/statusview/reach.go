// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/services/gateway/internal/idempotency"
)

// reach notes since when the view knows all mail that became final: it is folded from outcomes, and those that were
// trimmed before it came to them it never saw. The zero time means that it knows all there ever was.
func (db *database) reach(ctx context.Context, js jetstream.JetStream, folded uint64, now time.Time) (since time.Time, err error) {
	outcome, err := js.Stream(ctx, bus.StreamOutcome)
	if err != nil {
		return time.Time{}, fmt.Errorf("state of stream %s: %w", bus.StreamOutcome, err)
	}
	if state := outcome.CachedInfo().State; folded+1 < state.FirstSeq {
		since = state.FirstTime
		if state.Msgs == 0 {
			since = now
		}
		if _, err := db.write.ExecContext(ctx, "UPDATE reach SET since = ?", since.UnixNano()); err != nil {
			return time.Time{}, fmt.Errorf("write status view: %w", err)
		}
		return since, nil
	}
	var nanoseconds int64
	if err := db.write.QueryRowContext(ctx, "SELECT since FROM reach").Scan(&nanoseconds); err != nil {
		return time.Time{}, fmt.Errorf("read status view: %w", err)
	}
	if nanoseconds != 0 {
		since = time.Unix(0, nanoseconds)
	}
	return since, nil
}

// Reach returns how far back the view knows idempotency keys: 24 hours, or less when it was folded anew from outcomes that
// do not reach so far (queue.md, section 3).
func (v *View) Reach() time.Duration {
	if v.since.IsZero() {
		return idempotency.Window
	}
	return min(idempotency.Window, max(0, v.o.Now().Sub(v.since)))
}
