// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
)

// pruneChunk is how many messages one transaction removes, so that folding never waits long.
const pruneChunk = 500

// pruneMessages removes messages all of whose parts became final before the limit. They were accepted before that, so
// only ids below it are looked at.
const pruneMessages = `DELETE FROM message WHERE id IN (
	SELECT id FROM message WHERE id < ? AND NOT EXISTS
		(SELECT 1 FROM part WHERE message_id = message.id AND (done_at = 0 OR done_at >= ?))
	LIMIT ?) RETURNING id`

// prune removes messages that ended longer ago than the retention (O-02).
func (v *View) prune(ctx context.Context) error {
	limit := v.o.Now().Add(-retention)
	for {
		n, err := v.db.prune(ctx, limit)
		if err != nil {
			return fmt.Errorf("prune status view: %w", err)
		}
		if n < pruneChunk {
			return nil
		}
	}
}

func (db *database) prune(ctx context.Context, limit time.Time) (int, error) {
	var below ulid.ULID
	if err := below.SetTime(ulid.Timestamp(limit)); err != nil {
		return 0, err
	}
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	rows, err := tx.QueryContext(ctx, pruneMessages, below.String(), limit.UnixNano(), pruneChunk)
	if err != nil {
		return 0, err
	}
	ids, err := texts(rows)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if _, err := tx.ExecContext(ctx, "DELETE FROM part WHERE message_id = ?", id); err != nil {
			return 0, err
		}
	}
	return len(ids), tx.Commit()
}

// texts reads a single column and closes the rows.
func texts(rows *sql.Rows) ([]string, error) {
	defer func() { _ = rows.Close() }()
	var list []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, rows.Err()
}
