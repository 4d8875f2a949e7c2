// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"sync"
)

const (
	// fullStore is the share of nats.max_store, and of the disk, in percent, from which segments are purged as young as
	// bus.ShortStand.
	fullStore = 70
	// crowdedStore is the share of nats.max_store, in percent, from which nothing more is attempted while outcomes take more
	// than nats.outcome_bytes: they wait for dsn, and each attempt adds one. The rest is for leases, checkpoints, and the
	// notifications that make room again; without it a store that filled up while dsn was away would stay full for good.
	crowdedStore = 90
)

// space holds attempts back while the store is crowded. The zero value lets them through.
type space struct {
	mu   sync.Mutex
	free chan struct{} // closed when the store is no longer crowded; nil while it is not
}

// set notes whether the store is crowded.
func (s *space) set(crowded bool) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case crowded && s.free == nil:
		s.free = make(chan struct{})
	case !crowded && s.free != nil:
		close(s.free)
		s.free = nil
	default:
		return false
	}
	return true
}

// wait waits until the store is not crowded. The only error is that of ctx.
func (s *space) wait(ctx context.Context) error {
	s.mu.Lock()
	free := s.free
	s.mu.Unlock()
	if free == nil {
		return nil
	}
	select {
	case <-free:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
