// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/idempotency"
)

// Reasons of questions that have no answer.
const (
	reasonNotFound  = "MESSAGE_NOT_FOUND"
	reasonMessageID = "INVALID_MESSAGE_ID"
	reasonViewAway  = "VIEW_UNAVAILABLE"
)

// catchUpLimit is how long a question about an unknown message waits for the view to fold what is in the queue already.
const catchUpLimit = time.Second

// Message returns a message as it stands, and who submitted it ("" when that is not known any more). The error is an
// *rpc.Error. A message that may be younger than the view is shown as accepted and nothing more.
func (v *View) Message(ctx context.Context, id string) (shown *gatewayv1.Message, caller string, err error) {
	shown, _, caller, err = v.Explain(ctx, id)
	return shown, caller, err
}

// Explain is Message with what the loop rules decided about it, which is empty when that is not known.
func (v *View) Explain(ctx context.Context, id string) (shown *gatewayv1.Message, loop *eventv1.LoopTrace, caller string, err error) {
	parsed, err := ulid.ParseStrict(id)
	if err != nil {
		return nil, nil, "", &rpc.Error{
			Code: codes.InvalidArgument, Reason: reasonMessageID, Message: "the message id is not valid",
			Fields: []rpc.Field{{Field: "message_id", Description: "must be a ULID of 26 characters"}},
		}
	}
	id = parsed.String()
	m, parts, err := v.load(ctx, id)
	if err == nil && m == nil {
		m, parts, err = v.loadCurrent(ctx, id)
	}
	switch {
	case errors.Is(err, errBehind):
		shown, err = v.perhaps(parsed)
		return shown, nil, "", err
	case err != nil:
		return nil, nil, "", v.failed(ctx, err)
	case m == nil:
		return nil, nil, "", notFound()
	}
	shown = v.present(m, parts)
	shown.ViewLag = v.lagProto()
	return shown, m.loop, m.caller, nil
}

// errBehind says that the view has not folded what is in the queue.
var errBehind = errors.New("the status view is behind")

// load reads a message and its parts in one transaction; m is nil when there is none.
func (v *View) load(ctx context.Context, id string) (m *message, parts []*part, err error) {
	tx, err := v.db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	m, err = scanMessage(tx.QueryRowContext(ctx, "SELECT "+messageColumns+" FROM message WHERE id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	parts, err = loadParts(ctx, tx, id)
	return m, parts, err
}

// loadCurrent waits until the view has folded all that MAIL held when it was asked, and looks again. An id is only known
// to callers whose message was stored before, so a message that is not there then does not exist. errBehind says that
// the view did not get so far in time.
func (v *View) loadCurrent(ctx context.Context, id string) (*message, []*part, error) {
	if err := v.catchUp(ctx); err != nil {
		return nil, nil, err
	}
	return v.load(ctx, id)
}

// catchUp waits, but not long, until the view has folded all that MAIL held when it was asked.
func (v *View) catchUp(ctx context.Context) error {
	waitCtx, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	s, err := v.o.JS.Stream(waitCtx, bus.StreamMail)
	if err != nil {
		return errors.Join(errBehind, ctx.Err())
	}
	last := s.CachedInfo().State.LastSeq
	for {
		changed := v.change()
		if v.lag.has(bus.StreamMail, last) {
			return nil
		}
		select {
		case <-changed:
		case <-waitCtx.Done():
			return errors.Join(errBehind, ctx.Err())
		}
	}
}

// perhaps answers for an id the view is too far behind to know: accepted when it is younger than what is folded.
func (v *View) perhaps(id ulid.ULID) (*gatewayv1.Message, error) {
	behind, ok := v.Lag()
	// A message is stored up to a quarter of a minute after it got its id.
	if ok && id.Timestamp().Before(v.o.Now().Add(-behind-15*time.Second)) {
		return nil, notFound()
	}
	return &gatewayv1.Message{
		MessageId: id.String(), State: gatewayv1.MessageState_MESSAGE_STATE_ACCEPTED,
		AcceptedAt: timestamppb.New(id.Timestamp()), ViewLag: v.lagProto(),
	}, nil
}

// lagProto is the lag for an answer; before the first catching up it is as long as a message is kept.
func (v *View) lagProto() *durationpb.Duration {
	behind, ok := v.Lag()
	if !ok {
		behind = retention
	}
	return durationpb.New(behind)
}

func notFound() error {
	return &rpc.Error{Code: codes.NotFound, Reason: reasonNotFound, Message: "no such message"}
}

// failed is the answer when the file cannot be read.
func (v *View) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &rpc.Error{
		Code: codes.Unavailable, Reason: reasonViewAway, Message: "the status view cannot be read now",
		RetryAfter: time.Second, Err: err,
	}
}

// FindKey returns the message that was submitted under a key hash at or after since (idempotency.Memory).
func (v *View) FindKey(ctx context.Context, hash []byte, since time.Time) (idempotency.Earlier, bool, error) {
	if err := v.Current(); err != nil {
		return idempotency.Earlier{}, false, err
	}
	row := v.db.read.QueryRowContext(ctx, "SELECT "+messageColumns+` FROM message
		WHERE key_hash = ? AND accepted_at >= ? ORDER BY id LIMIT 1`, hash, nanos(since))
	m, err := scanMessage(row)
	if errors.Is(err, sql.ErrNoRows) {
		return idempotency.Earlier{}, false, nil
	}
	if err != nil {
		return idempotency.Earlier{}, false, fmt.Errorf("look up key: %w", err)
	}
	e := idempotency.Earlier{MessageID: m.id, AcceptedAt: m.acceptedAt, Digest: m.digest, Recipients: m.recipients}
	if e.Recipients > 0 {
		return e, true, nil
	}
	parts, err := loadParts(ctx, v.db.read, m.id)
	if err != nil {
		return idempotency.Earlier{}, false, fmt.Errorf("look up key: %w", err)
	}
	for _, p := range parts {
		e.Recipients += len(p.results)
	}
	return e, true, nil
}
