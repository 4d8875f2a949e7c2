// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Purge removes all messages of a stream below a sequence.
func Purge(ctx context.Context, js jetstream.JetStream, stream string, below uint64) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("purge stream %s: %w", stream, err)
	}
	if err := purgeBelow(ctx, s, below); err != nil {
		return fmt.Errorf("purge stream %s below %d: %w", stream, below, err)
	}
	return nil
}

func purgeBelow(ctx context.Context, s jetstream.Stream, below uint64) error {
	if below <= max(s.CachedInfo().State.FirstSeq, 1) {
		return nil // nothing there; and 0 would purge everything
	}
	return s.Purge(ctx, jetstream.WithPurgeSequence(below))
}
