// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"bytes"
	"context"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
)

// Window is how long a key is remembered.
const Window = 24 * time.Hour

// Reasons of a keyed submission that was not taken.
const (
	// ReasonKeyReused is a key that was used for other content.
	ReasonKeyReused = "KEY_REUSED"
	// ReasonKeysBehind is a gateway that cannot tell yet which keys were used.
	ReasonKeysBehind = "KEYS_BEHIND"
)

const retryBehind = time.Second

// Earlier is a message that was submitted under a key.
type Earlier struct {
	// MessageID is its ULID.
	MessageID string
	// AcceptedAt is when it was accepted.
	AcceptedAt time.Time
	// Recipients is how many recipients were taken.
	Recipients int
	// Digest is what Digest gave for it.
	Digest []byte
}

// Memory knows the keys of the last 24 hours, up to the last minute or less (internal/statusview).
type Memory interface {
	// Current returns an error while the memory is more than a minute behind the queue.
	Current() error
	// FindKey returns the message that was submitted under a key hash at or after since. Its error is Current's, or a
	// failure to look.
	FindKey(ctx context.Context, hash []byte, since time.Time) (Earlier, bool, error)
}

// Log reads one message's records back from the queue.
type Log interface {
	// At returns the message whose first record lies at a position.
	At(ctx context.Context, at bus.Position) (Earlier, error)
}

// Keys decides about keyed submissions. It is safe for concurrent use.
type Keys struct {
	memory Memory
	log    Log
}

// New returns Keys over a memory and the queue.
func New(memory Memory, log Log) *Keys { return &Keys{memory: memory, log: log} }

// Ready refuses keyed submissions before their content is read while the memory is behind: UNAVAILABLE with RetryInfo.
func (k *Keys) Ready() error {
	if err := k.memory.Current(); err != nil {
		return behind(err)
	}
	return nil
}

// Before looks a key up before its message is appended. It must be asked at most a minute before the append, since what
// is younger than that only the queue's server knows. The error is an *rpc.Error: ALREADY_EXISTS for other content,
// UNAVAILABLE when the memory is behind.
func (k *Keys) Before(ctx context.Context, hash, digest []byte, now time.Time) (earlier Earlier, found bool, err error) {
	earlier, found, err = k.memory.FindKey(ctx, hash, now.Add(-Window))
	if err != nil {
		return Earlier{}, false, behind(err)
	}
	if !found {
		return Earlier{}, false, nil
	}
	return earlier, true, same(earlier, digest)
}

// After reads what the queue already had under the key. The error is an *rpc.Error as for Before.
func (k *Keys) After(ctx context.Context, at bus.Position, digest []byte) (Earlier, error) {
	earlier, err := k.log.At(ctx, at)
	if err != nil {
		return Earlier{}, behind(err)
	}
	return earlier, same(earlier, digest)
}

// same refuses a key that was used for something else.
func same(earlier Earlier, digest []byte) error {
	if bytes.Equal(earlier.Digest, digest) {
		return nil
	}
	return &rpc.Error{
		Code: codes.AlreadyExists, Reason: ReasonKeyReused, Enhanced: smtpreply.Code(5, 5, 4),
		Message: "the idempotency key was used for another message",
		Fields:  []rpc.Field{{Field: "envelope.idempotency_key", Description: "was used for another message within 24 hours"}},
	}
}

// behind asks the caller to come again: the same key will then find what there is.
func behind(cause error) error {
	return &rpc.Error{
		Code: codes.Unavailable, Reason: ReasonKeysBehind, Enhanced: smtpreply.Code(4, 3, 2),
		Message: "used idempotency keys cannot be looked up now", RetryAfter: retryBehind, Err: cause,
	}
}
