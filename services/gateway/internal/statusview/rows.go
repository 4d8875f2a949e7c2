// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// querier is a transaction or a pool.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// nanos is a time as it stands in a column; 0 is the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// encodeResults writes a part's recipients one after the other: attempt, length, RecipientResult.
func encodeResults(results []result) ([]byte, error) {
	var out []byte
	for _, r := range results {
		out = binary.AppendUvarint(out, uint64(r.attempt))
		out = binary.AppendUvarint(out, uint64(proto.Size(r.RecipientResult)))
		var err error
		if out, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend(out, r.RecipientResult); err != nil {
			return nil, fmt.Errorf("encode recipient: %w", err)
		}
	}
	return out, nil
}

// errRow is a row that cannot be decoded: the file is damaged.
var errRow = errors.New("a row of the status view cannot be decoded")

func decodeResults(data []byte) ([]result, error) {
	var results []result
	for len(data) > 0 {
		attempt, n := binary.Uvarint(data)
		if n <= 0 {
			return nil, errRow
		}
		size, m := binary.Uvarint(data[n:])
		if m <= 0 || size > uint64(len(data)-n-m) {
			return nil, errRow
		}
		data = data[n+m:]
		r := new(eventv1.RecipientResult)
		if err := proto.Unmarshal(data[:size], r); err != nil {
			return nil, errors.Join(errRow, err)
		}
		results = append(results, result{uint32(attempt), r})
		data = data[size:]
	}
	return results, nil
}

// states returns a bit for each state a recipient is in.
func (p *part) states() int64 {
	var bits int64
	for _, r := range p.results {
		bits |= 1 << r.GetState()
	}
	return bits
}

// waiting counts the recipients that are not final.
func (p *part) waiting() int {
	n := 0
	for _, r := range p.results {
		if !final(r.GetState()) {
			n++
		}
	}
	return n
}

const partColumns = "message_id, number, destination, hop, next_at, done_at, results, history"

func scanPart(row interface{ Scan(...any) error }) (*part, error) {
	p := new(part)
	var next, done int64
	var results, history []byte
	if err := row.Scan(&p.messageID, &p.number, &p.destination, &p.hop, &next, &done, &results, &history); err != nil {
		return nil, err
	}
	p.next, p.doneAt = fromNanos(next), fromNanos(done)
	var err error
	if p.results, err = decodeResults(results); err != nil {
		return nil, err
	}
	if history != nil {
		p.history = new(eventv1.History)
		if err := proto.Unmarshal(history, p.history); err != nil {
			return nil, errors.Join(errRow, err)
		}
	}
	return p, nil
}

// loadParts returns the parts of a message in order.
func loadParts(ctx context.Context, q querier, messageID string) ([]*part, error) {
	rows, err := q.QueryContext(ctx, "SELECT "+partColumns+" FROM part WHERE message_id = ? ORDER BY number", messageID)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var parts []*part
	for rows.Next() {
		p, err := scanPart(rows)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, rows.Err()
}

const messageColumns = "id, accepted_at, sender, tenant, tag, caller, parts, recipients, key_hash, digest, facts, body_ref, loop"

func scanMessage(row interface{ Scan(...any) error }) (*message, error) {
	m := &message{facts: new(gatewayv1.Message)}
	var accepted int64
	var facts, loop []byte
	err := row.Scan(&m.id, &accepted, &m.sender, &m.tenant, &m.tag, &m.caller, &m.parts, &m.recipients, &m.keyHash, &m.digest, &facts,
		&m.bodyRef, &loop)
	if err != nil {
		return nil, err
	}
	m.acceptedAt = fromNanos(accepted)
	if err := proto.Unmarshal(facts, m.facts); err != nil {
		return nil, errors.Join(errRow, err)
	}
	m.loop = new(eventv1.LoopTrace)
	if err := proto.Unmarshal(loop, m.loop); err != nil {
		return nil, errors.Join(errRow, err)
	}
	return m, nil
}
