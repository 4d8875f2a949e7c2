// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"sync"
	"time"
)

// maxObservations bounds how many observations are kept while the view is behind.
const maxObservations = 600

// lag tells how far the view is behind the queue. It goes by observations: at a moment T the streams ended at certain
// sequences; once all of them are folded the view holds all that was stored before T.
type lag struct {
	mu      sync.Mutex
	now     func() time.Time
	asOf    time.Time // the view holds all that was stored before
	pending []observation
	folded  map[string]uint64
}

type observation struct {
	at   time.Time
	last map[string]uint64
}

func newLag(now func() time.Time, folded map[string]uint64) *lag {
	return &lag{now: now, folded: folded}
}

// observe notes where the streams ended at a moment, which must not be later than the moment they were asked.
func (l *lag) observe(at time.Time, last map[string]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == maxObservations {
		l.pending = l.pending[:maxObservations-1] // the newest is replaced: what waits longest says the most
	}
	l.pending = append(l.pending, observation{at, last})
	l.settle()
}

// reached notes what is in the file.
func (l *lag) reached(positions map[string]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for stream, sequence := range positions {
		l.folded[stream] = max(l.folded[stream], sequence)
	}
	l.settle()
}

// settle takes the newest observation that is folded. An older one that is not saw what was removed since.
func (l *lag) settle() {
	for i := len(l.pending) - 1; i >= 0; i-- {
		if l.covers(l.pending[i].last) {
			l.asOf = l.pending[i].at
			l.pending = l.pending[i+1:]
			return
		}
	}
}

func (l *lag) covers(last map[string]uint64) bool {
	for stream, sequence := range last {
		if l.folded[stream] < sequence {
			return false
		}
	}
	return true
}

// behind returns how far the view is behind; ok is false before it has once caught up since the start.
func (l *lag) behind() (d time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asOf.IsZero() {
		return 0, false
	}
	return max(0, l.now().Sub(l.asOf)), true
}

// has reports whether one stream is folded up to a sequence.
func (l *lag) has(stream string, sequence uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.folded[stream] >= sequence
}

// position returns the last sequence of a stream that is folded.
func (l *lag) position(stream string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.folded[stream]
}
