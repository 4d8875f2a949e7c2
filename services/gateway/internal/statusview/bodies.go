// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"fmt"
	"time"
)

// finishedBodies finds messages with a content in the body store all of whose parts became final before a moment.
const finishedBodies = `SELECT id, body_ref FROM message WHERE body_ref <> '' AND parts > 0 AND parts =
	(SELECT count(*) FROM part WHERE message_id = message.id AND done_at > 0 AND done_at < ?) LIMIT ?`

// FinishedBodies returns contents in the body store that no record needs any more, by message id: all recipients of the
// message were final before a moment. It returns an error while the view is behind the queue.
func (v *View) FinishedBodies(ctx context.Context, before time.Time, most int) (map[string]string, error) {
	if err := v.Current(); err != nil {
		return nil, err
	}
	rows, err := v.db.read.QueryContext(ctx, finishedBodies, nanos(before), most)
	if err != nil {
		return nil, fmt.Errorf("look up finished contents: %w", err)
	}
	defer func() { _ = rows.Close() }()
	refs := make(map[string]string)
	for rows.Next() {
		var id, ref string
		if err := rows.Scan(&id, &ref); err != nil {
			return nil, fmt.Errorf("look up finished contents: %w", err)
		}
		refs[id] = ref
	}
	return refs, rows.Err()
}

// ForgetBodies notes that the contents of some messages were deleted.
func (v *View) ForgetBodies(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if _, err := v.db.write.ExecContext(ctx, "UPDATE message SET body_ref = '' WHERE id = ?", id); err != nil {
			return fmt.Errorf("forget contents: %w", err)
		}
	}
	return nil
}

// Knows reports whether the view has a message of that id. It returns an error while the view is behind the queue.
func (v *View) Knows(ctx context.Context, id string) (bool, error) {
	if err := v.Current(); err != nil {
		return false, err
	}
	var n int
	if err := v.db.read.QueryRowContext(ctx, "SELECT count(*) FROM message WHERE id = ?", id).Scan(&n); err != nil {
		return false, fmt.Errorf("look up message: %w", err)
	}
	return n > 0, nil
}
