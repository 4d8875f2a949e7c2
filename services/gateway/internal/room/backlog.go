// SPDX-License-Identifier: Apache-2.0

package room

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
)

// Usage measures the body store in bytes (kit/bodystore).
type Usage func(ctx context.Context) (int64, error)

// Streams measures what lies above the floors in MAIL, the RETRY streams and PARK, and in the body store. What is below
// a floor is settled and only waits for its purge; its share is reckoned by sequences. While all of it together is less
// than enough bytes the floors are not asked for.
func Streams(js jetstream.JetStream, partitions int, bodies Usage, enough int64) Backlog {
	return func(ctx context.Context) (Use, error) {
		states, stored, err := states(ctx, js)
		if err != nil {
			return Use{}, err
		}
		kept, err := bodies(ctx)
		if err != nil {
			return Use{}, fmt.Errorf("size of the body store: %w", err)
		}
		total := kept
		for _, s := range states {
			total += int64(s.Bytes)
		}
		if total < enough {
			return Use{Waiting: total, Stored: stored}, nil
		}
		floors, err := lowestFloors(ctx, js, partitions)
		if err != nil {
			return Use{}, err
		}
		total = kept
		for name, s := range states {
			total += above(s, floors[name])
		}
		return Use{Waiting: total, Stored: stored}, nil
	}
}

// states asks for the state of every stream mail waits in, and how much all streams take.
func states(ctx context.Context, js jetstream.JetStream) (map[string]jetstream.StreamState, int64, error) {
	states, stored := make(map[string]jetstream.StreamState), int64(0)
	all := js.ListStreams(ctx)
	for info := range all.Info() {
		stored += int64(info.State.Bytes)
		name := info.Config.Name
		if _, retry := bus.RetryStreamMinutes(name); retry || name == bus.StreamMail || name == bus.StreamPark {
			states[name] = info.State
		}
	}
	if err := all.Err(); err != nil {
		return nil, 0, fmt.Errorf("list streams: %w", err)
	}
	return states, stored, nil
}

// above is the share of a stream's bytes from floor on.
func above(s jetstream.StreamState, floor uint64) int64 {
	if s.Msgs == 0 || floor <= s.FirstSeq {
		return int64(s.Bytes)
	}
	if floor > s.LastSeq {
		return 0
	}
	return int64(float64(s.Bytes) * float64(s.LastSeq-floor+1) / float64(s.LastSeq-s.FirstSeq+1))
}

// lowestFloors returns the lowest floor of each stream over all partitions. A stream some partition names no floor for
// counts whole.
func lowestFloors(ctx context.Context, js jetstream.JetStream, partitions int) (map[string]uint64, error) {
	lowest := make(map[string]uint64)
	for p := range partitions {
		c, err := bus.LastCheckpoint(ctx, js, p)
		if err != nil {
			return nil, err
		}
		own := make(map[string]uint64)
		for _, f := range c.GetFloors() {
			own[f.GetStream()] = f.GetSequence()
		}
		if p == 0 {
			lowest = own
			continue
		}
		for stream, sequence := range lowest {
			if other, ok := own[stream]; !ok {
				delete(lowest, stream)
			} else {
				lowest[stream] = min(sequence, other)
			}
		}
	}
	return lowest, nil
}
