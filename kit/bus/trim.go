// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TrimOptions say what of OUTCOME may go.
type TrimOptions struct {
	Partitions int
	// OlderThan removes what is older, by the server's clock. 0 removes nothing for its age.
	OlderThan time.Duration
	// MaxBytes removes the oldest until the stream is no larger. 0 removes nothing for its size.
	MaxBytes int64
	// NotPast is a sequence nothing at or above goes: the lowest the notifications have not passed (Cursors.Lowest
	// plus one).
	NotPast uint64
}

// TrimOutcome removes the oldest outcomes, and returns the first sequence kept. Whatever the options say it keeps what
// a fold from any partition's last checkpoint has to read, that checkpoint itself, and everything as long as a
// partition has none that names where its fold begins.
func TrimOutcome(ctx context.Context, js jetstream.JetStream, o TrimOptions) (first uint64, err error) {
	s, err := js.Stream(ctx, StreamOutcome)
	if err != nil {
		return 0, fmt.Errorf("trim outcomes: %w", err)
	}
	state, now := s.CachedInfo().State, s.CachedInfo().TimeStamp
	if state.Msgs == 0 {
		return state.LastSeq + 1, nil
	}
	limit := min(o.NotPast, state.LastSeq+1)
	for p := range o.Partitions {
		newest, err := newestCheckpoint(ctx, js, p, directGet)
		if err != nil {
			return 0, err
		}
		limit = min(limit, newest.sequence, sequenceOf(newest.checkpoint.GetFold(), StreamOutcome))
	}
	below := state.FirstSeq
	if o.OlderThan > 0 {
		old, err := firstAfter(ctx, js, state, now.Add(-o.OlderThan))
		if err != nil {
			return 0, err
		}
		below = max(below, old)
	}
	if over := int64(state.Bytes) - o.MaxBytes; o.MaxBytes > 0 && over > 0 {
		// Segments differ in size; what an average tells too little of goes the next time.
		each := max(int64(state.Bytes)/int64(state.Msgs), 1)
		below = max(below, state.FirstSeq+uint64((over+each-1)/each))
	}
	if below = min(below, limit); below <= state.FirstSeq {
		return state.FirstSeq, nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(below)); err != nil {
		return 0, fmt.Errorf("trim outcomes below %d: %w", below, err)
	}
	return below, nil
}

// firstAfter returns the first sequence of OUTCOME stored at or after a time, or the one behind its last. Only prefixes
// are removed from the stream, so its times can be searched by halves.
func firstAfter(ctx context.Context, js jetstream.JetStream, state jetstream.StreamState, at time.Time) (uint64, error) {
	var failed error
	n := sort.Search(int(state.LastSeq+1-state.FirstSeq), func(i int) bool {
		if failed != nil {
			return true
		}
		d, err := ReadSegment(ctx, js, StreamOutcome, state.FirstSeq+uint64(i))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return false // removed meanwhile
		}
		failed = err
		return !d.Time.Before(at)
	})
	return state.FirstSeq + uint64(n), failed
}
