// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
)

// Waiting is what waits for one destination.
type Waiting struct {
	Destination string
	Recipients  uint64
	Since       time.Time // when the oldest was accepted
}

// waitingByDestination takes the oldest message for the one with the lowest id.
const waitingByDestination = `SELECT destination, sum(waiting), min(message_id) FROM part WHERE done_at = 0 GROUP BY destination`

// Waiting returns all destinations mail waits for, in no particular order.
func (v *View) Waiting(ctx context.Context) ([]Waiting, error) {
	list, err := v.waiting(ctx)
	if err != nil {
		return nil, v.failed(ctx, err)
	}
	return list, nil
}

func (v *View) waiting(ctx context.Context) ([]Waiting, error) {
	rows, err := v.db.read.QueryContext(ctx, waitingByDestination)
	if err != nil {
		return nil, fmt.Errorf("list destinations: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var list []Waiting
	for rows.Next() {
		var w Waiting
		var oldest string
		if err := rows.Scan(&w.Destination, &w.Recipients, &oldest); err != nil {
			return nil, fmt.Errorf("list destinations: %w", err)
		}
		if id, err := ulid.ParseStrict(oldest); err == nil {
			w.Since = id.Timestamp()
		}
		if w.Recipients > 0 {
			list = append(list, w)
		}
	}
	return list, rows.Err()
}
