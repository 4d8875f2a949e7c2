// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrCursorMoved reports that somebody else has moved a cursor: another process does the work.
var ErrCursorMoved = errors.New("cursor was moved by somebody else")

// Told in place of a partition is the cursor over JOINED: its Sequence is the Unix time, in seconds, of the last end of a
// window whose joined notifications were all told.
const Told = -1

// Cursor is how far notifications of a partition have come. The zero position is before everything.
type Cursor struct {
	// Partition is a partition, or Told.
	Partition int
	// Sequence is a sequence of OUTCOME: of this partition everything at or below it is passed.
	Sequence uint64
	// Revision is the version of the stored value, 0 when there is none.
	Revision uint64
}

// Cursors keeps the cursors of the dsn service. OUTCOME is never trimmed past the lowest of them.
type Cursors struct {
	js jetstream.JetStream
	kv jetstream.KeyValue
}

// OpenCursors opens the store of cursors, which Ensure has made.
func OpenCursors(ctx context.Context, js jetstream.JetStream) (*Cursors, error) {
	kv, err := js.KeyValue(ctx, BucketOwners)
	if err != nil {
		return nil, fmt.Errorf("key-value bucket %s: %w", BucketOwners, err)
	}
	return &Cursors{js: js, kv: kv}, nil
}

func cursorKey(partition int) string {
	if partition == Told {
		return "dsn.told"
	}
	return "dsn.cursor." + strconv.Itoa(partition)
}

// Read returns the cursor of a partition as the leader knows it; where none was stored, one at 0.
func (c *Cursors) Read(ctx context.Context, partition int) (Cursor, error) {
	key := cursorKey(partition)
	m, err := leaderGet(ctx, c.js, "KV_"+BucketOwners, getRequest{LastFor: "$KV." + BucketOwners + "." + key})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Cursor{Partition: partition}, nil
	}
	if err != nil {
		return Cursor{}, fmt.Errorf("read %s: %w", key, err)
	}
	if len(m.Data) == 0 { // deleted by hand
		return Cursor{Partition: partition, Revision: m.Sequence}, nil
	}
	sequence, err := strconv.ParseUint(string(m.Data), 10, 64)
	if err != nil {
		return Cursor{}, fmt.Errorf("read %s: %w", key, err)
	}
	return Cursor{Partition: partition, Sequence: sequence, Revision: m.Sequence}, nil
}

// Advance stores a new position if the cursor is still as it was read, and returns it as it stands then; else the error
// wraps ErrCursorMoved. Any other error, such as no answer within 5 s, leaves open whether it was stored: Advance with
// the same values again tells.
func (c *Cursors) Advance(ctx context.Context, from Cursor, sequence uint64) (Cursor, error) {
	key := cursorKey(from.Partition)
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	revision, err := c.kv.Update(ctx, key, strconv.AppendUint(nil, sequence, 10), from.Revision)
	if err == nil {
		return Cursor{Partition: from.Partition, Sequence: sequence, Revision: revision}, nil
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.ErrorCode != codeWrongLastSeq {
		return from, fmt.Errorf("advance %s: %w", key, err)
	}
	stands, readErr := c.Read(ctx, from.Partition)
	switch {
	case readErr != nil:
		return from, readErr
	case stands.Sequence == sequence: // an earlier try whose answer was lost
		return stands, nil
	default:
		return from, fmt.Errorf("advance %s to %d: it stands at %d: %w", key, sequence, stands.Sequence, ErrCursorMoved)
	}
}

// Lowest returns the position that all of the partitions 0 to partitions-1 have passed, 0 when one has no cursor.
func (c *Cursors) Lowest(ctx context.Context, partitions int) (uint64, error) {
	var lowest uint64
	for partition := range partitions {
		cursor, err := c.Read(ctx, partition)
		if err != nil {
			return 0, err
		}
		if partition == 0 || cursor.Sequence < lowest {
			lowest = cursor.Sequence
		}
	}
	return lowest, nil
}
