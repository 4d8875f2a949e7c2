// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"fmt"
	"time"
)

// positions returns how far each stream is folded, and makes the rows that are missing. It returns errOtherFile when
// the file was folded from other streams: one was made anew, or ends before its position.
func (db *database) positions(ctx context.Context, created map[string]time.Time, last map[string]uint64) (map[string]uint64, error) {
	known, err := db.readPositions(ctx)
	if err != nil {
		return nil, err
	}
	folded := make(map[string]uint64, len(created))
	for stream, at := range created {
		p, ok := known[stream]
		if !ok {
			_, err := db.write.ExecContext(ctx, "INSERT INTO position (stream, created, sequence) VALUES (?, ?, 0)", stream, at.UnixNano())
			if err != nil {
				return nil, fmt.Errorf("write status view: %w", err)
			}
			folded[stream] = 0
			continue
		}
		if p.created != at.UnixNano() || p.sequence > last[stream] {
			return nil, errOtherFile
		}
		folded[stream] = p.sequence
	}
	return folded, nil
}

type position struct {
	created  int64
	sequence uint64
}

func (db *database) readPositions(ctx context.Context) (map[string]position, error) {
	rows, err := db.write.QueryContext(ctx, "SELECT stream, created, sequence FROM position")
	if err != nil {
		return nil, fmt.Errorf("read status view: %w", err)
	}
	defer func() { _ = rows.Close() }()
	known := make(map[string]position)
	for rows.Next() {
		var stream string
		var p position
		var sequence int64
		if err := rows.Scan(&stream, &p.created, &sequence); err != nil {
			return nil, fmt.Errorf("read status view: %w", err)
		}
		p.sequence = uint64(sequence)
		known[stream] = p
	}
	return known, rows.Err()
}
