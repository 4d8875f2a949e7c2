// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/bus"
)

type partKey struct {
	id     string
	number uint32
}

// batch is what was folded and is not yet in the file. A message whose record and outcome come within one batch is
// written once, with its final state.
type batch struct {
	db *database
	tx *sql.Tx // begun with the first segment
	// Statements in tx.
	getMessage, getPart *sql.Stmt
	messages            map[string]*message
	parts               map[partKey]*part
	positions           map[string]uint64
	// newest is the latest id in the file. Ids are in the order of acceptance, so that nearly all that is folded lies
	// beyond it and need not be looked for.
	newest  string
	corrupt int // records that could not be decoded; they are the sender's to hold
}

func newBatch(ctx context.Context, db *database) (*batch, error) {
	b := &batch{db: db, messages: map[string]*message{}, parts: map[partKey]*part{}, positions: map[string]uint64{}}
	const latest = "SELECT max(coalesce((SELECT max(id) FROM message), ''), coalesce((SELECT max(message_id) FROM part), ''))"
	if err := db.write.QueryRowContext(ctx, latest).Scan(&b.newest); err != nil {
		return nil, fmt.Errorf("read status view: %w", err)
	}
	return b, nil
}

// rows is how much a commit would write.
func (b *batch) rows() int { return len(b.messages) + len(b.parts) }

// fold takes one segment of any of the streams.
func (b *batch) fold(ctx context.Context, d bus.Delivery) error {
	ctx = context.WithoutCancel(ctx) // a statement takes microseconds, watching for its end takes as long again
	if err := b.begin(ctx); err != nil {
		return err
	}
	for i := range d.Segment.Len() {
		frame, err := d.Segment.Frame(i)
		if err == nil {
			err = b.foldFrame(ctx, d, frame)
		}
		if _, bad := errors.AsType[*bus.CorruptError](err); bad {
			b.corrupt++
			continue
		}
		if err != nil {
			return err
		}
	}
	if d.Err != nil {
		b.corrupt++
	}
	b.positions[d.Stream] = d.Sequence
	return nil
}

// begin opens the transaction that the batch is committed in.
func (b *batch) begin(ctx context.Context) error {
	if b.tx != nil {
		return nil
	}
	tx, err := b.db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("write status view: %w", err)
	}
	b.tx, b.getMessage, b.getPart = tx, tx.StmtContext(ctx, b.db.getMessage), tx.StmtContext(ctx, b.db.getPart)
	return nil
}

// close gives up what is not committed.
func (b *batch) close() {
	if b.tx != nil {
		_ = b.tx.Rollback() // it is folded again
		b.tx = nil
	}
}

func (b *batch) foldFrame(ctx context.Context, d bus.Delivery, frame bus.Frame) error {
	if d.Stream == bus.StreamOutcome {
		o, err := frame.Outcome()
		if err != nil {
			return err
		}
		p, known, err := b.part(ctx, o.GetMessageId(), o.GetPart())
		if err != nil {
			return err
		}
		p.settled(o)
		if known {
			return nil
		}
		return b.note(ctx, o.GetMessageId(), 0, func() *message { return fromOutcome(o) })
	}
	record, err := frame.Mail()
	if err != nil {
		return err
	}
	p, known, err := b.part(ctx, record.GetMessageId(), record.GetPart())
	if err != nil {
		return err
	}
	if d.Stream == bus.StreamMail {
		p.accepted(record)
		return b.note(ctx, record.GetMessageId(), len(record.GetEnvelope().GetRecipients()), func() *message { return fromRecord(record) })
	}
	p.moved(record, dueOf(d))
	if known {
		return nil
	}
	return b.note(ctx, record.GetMessageId(), 0, func() *message { return fromRecord(record) })
}

// dueOf is when a record comes out of the stream it waits in: by the server's time, as the sender reckons. Zero in PARK.
func dueOf(d bus.Delivery) time.Time {
	minutes, ok := bus.RetryStreamMinutes(d.Stream)
	if !ok {
		return time.Time{}
	}
	return d.Time.Add(time.Duration(minutes) * time.Minute)
}

// part returns a part from the batch, from the file, or a new one. The message of a known one is known too, since both
// are folded and written together.
func (b *batch) part(ctx context.Context, id string, number uint32) (p *part, known bool, err error) {
	key := partKey{id, number}
	if p := b.parts[key]; p != nil {
		return p, true, nil
	}
	p = &part{messageID: id, number: number}
	if id <= b.newest {
		stored, err := scanPart(b.getPart.QueryRowContext(ctx, id, number))
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, false, fmt.Errorf("read status view: %w", err)
		}
		if err == nil {
			p, known = stored, true
		}
	}
	b.parts[key] = p
	return p, known, nil
}

// note keeps what a record says of its message. recipients counts those of a record of MAIL, which is folded once.
func (b *batch) note(ctx context.Context, id string, recipients int, read func() *message) error {
	m := b.messages[id]
	if m == nil {
		known, err := b.storedMessage(ctx, id)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			m = read()
		case err != nil:
			return fmt.Errorf("read status view: %w", err)
		case recipients == 0 && known.caller != "":
			return nil // nothing new
		default:
			m = known
		}
		b.messages[id] = m
	}
	if recipients > 0 {
		m.recipients += recipients
		first := read()
		m.caller, m.parts = first.caller, max(m.parts, first.parts)
		if m.bodyRef == "" {
			m.bodyRef = first.bodyRef
		}
	}
	return nil
}

// storedMessage reads a message from the file.
func (b *batch) storedMessage(ctx context.Context, id string) (*message, error) {
	if id > b.newest {
		return nil, sql.ErrNoRows
	}
	return scanMessage(b.getMessage.QueryRowContext(ctx, id))
}

// commit writes everything with the positions in one transaction, and empties the batch.
func (b *batch) commit(ctx context.Context) error {
	if b.tx == nil {
		return nil
	}
	if err := b.write(context.WithoutCancel(ctx), b.tx); err != nil {
		return fmt.Errorf("write status view: %w", err)
	}
	if err := b.tx.Commit(); err != nil {
		return fmt.Errorf("write status view: %w", err)
	}
	b.tx = nil
	for id := range b.messages {
		b.newest = max(b.newest, id)
	}
	for key := range b.parts {
		b.newest = max(b.newest, key.id)
	}
	clear(b.messages)
	clear(b.parts)
	clear(b.positions)
	return nil
}

// write writes in the order of the keys, so that neighbours share pages.
func (b *batch) write(ctx context.Context, tx *sql.Tx) error {
	insert := tx.StmtContext(ctx, b.db.putMessage)
	for _, id := range slices.Sorted(maps.Keys(b.messages)) {
		if err := b.messages[id].write(ctx, insert); err != nil {
			return err
		}
	}
	insert = tx.StmtContext(ctx, b.db.putPart)
	for _, key := range slices.SortedFunc(maps.Keys(b.parts), partKey.compare) {
		if err := b.parts[key].write(ctx, insert); err != nil {
			return err
		}
	}
	for stream, sequence := range b.positions {
		if _, err := tx.StmtContext(ctx, b.db.putPosition).ExecContext(ctx, int64(sequence), stream); err != nil {
			return err
		}
	}
	return nil
}

func (k partKey) compare(other partKey) int {
	return cmp.Or(strings.Compare(k.id, other.id), cmp.Compare(k.number, other.number))
}

func (m *message) write(ctx context.Context, stmt *sql.Stmt) error {
	facts, err := proto.Marshal(m.facts)
	if err != nil {
		return err
	}
	loop, err := proto.Marshal(m.loop)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(ctx, m.id, nanos(m.acceptedAt), m.sender, m.tenant, m.tag, m.caller, m.parts, m.recipients,
		blob(m.keyHash), blob(m.digest), facts, m.bodyRef, blob(loop))
	return err
}

func (p *part) write(ctx context.Context, stmt *sql.Stmt) error {
	results, err := encodeResults(p.results)
	if err != nil {
		return err
	}
	var history []byte
	if p.history != nil {
		if history, err = proto.Marshal(p.history); err != nil {
			return err
		}
	}
	_, err = stmt.ExecContext(ctx, p.messageID, p.number, p.destination, p.hop, nanos(p.next), nanos(p.doneAt), results,
		blob(history), p.states(), p.waiting())
	return err
}

// blob keeps an empty value NULL.
func blob(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}
