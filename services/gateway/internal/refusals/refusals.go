// SPDX-License-Identifier: Apache-2.0

// Package refusals keeps what is known of messages that were refused as loops (L-09). Such a message is in no queue and
// in no status view; its record lies in the key-value store that all gateways share, for a week.
package refusals

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Kept is how long a refusal is known.
const Kept = 7 * 24 * time.Hour

// storeLimit is how long the store may take.
const storeLimit = time.Second

// Store is the key-value store (kit/bus.SharedKeys), with Kept for its time to live.
type Store interface {
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Put(ctx context.Context, key string, value []byte, revision uint64) (stored bool, err error)
}

// Book keeps refusals.
type Book struct{ store Store }

// New returns a Book over a store.
func New(store Store) *Book { return &Book{store: store} }

func key(messageID string) string { return "refused." + messageID }

// Keep writes a refusal down before it returns.
func (b *Book) Keep(ctx context.Context, r *eventv1.LoopRefusal) error {
	value, err := proto.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode refusal: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
	defer cancel()
	if _, err := b.store.Put(ctx, key(r.GetMessageId()), value, 0); err != nil {
		return fmt.Errorf("keep refusal: %w", err)
	}
	return nil
}

// Find returns the refusal of a message, nil when none is known.
func (b *Book) Find(ctx context.Context, messageID string) (*eventv1.LoopRefusal, error) {
	value, _, err := b.store.Get(ctx, key(messageID))
	if err != nil {
		return nil, fmt.Errorf("find refusal: %w", err)
	}
	if len(value) == 0 {
		return nil, nil //nolint:nilnil // none
	}
	r := new(eventv1.LoopRefusal)
	if err := proto.Unmarshal(value, r); err != nil {
		return nil, fmt.Errorf("find refusal: %w", err)
	}
	return r, nil
}
