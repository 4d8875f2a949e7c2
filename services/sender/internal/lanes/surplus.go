// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"slices"
	"time"
)

const (
	// slow is the time to drain from which a destination is in the way of others.
	slow = 10 * time.Second
	// keepFor is for how long a destination keeps mail at hand when its surplus is taken out.
	keepFor = time.Minute
	// unknownDrain and longestDrain bound the estimate for a destination that has taken nothing yet, and for any other.
	unknownDrain = 5 * time.Minute
	longestDrain = 20 * time.Minute
)

// Surplus is something taken out of a lane that is too full, and how long its lane was estimated to need.
type Surplus[T any] struct {
	Value T
	Drain time.Duration
}

// TakeSurplus takes up to most waiting entries that match wants out of lanes of destinations that are slow, the slowest
// first, from the end of the lanes and the least urgent first. What such a destination can take within a minute stays.
func (l *Lanes[T]) TakeSurplus(most int, match func(T) bool) []Surplus[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	type candidate struct {
		d     *destination[T]
		drain time.Duration
	}
	var slowest []candidate
	for _, d := range l.destinations {
		if drain := d.pace.drain(d.waiting, now); drain >= slow {
			slowest = append(slowest, candidate{d, drain})
		}
	}
	slices.SortFunc(slowest, func(a, b candidate) int { return int(b.drain/time.Second) - int(a.drain/time.Second) })
	var taken []Surplus[T]
	for _, c := range slowest {
		atHand := max(2*l.limit(c.d.name), int(float64(c.d.waiting)*float64(keepFor)/float64(c.drain)))
		drain := min(c.drain, longestDrain)
		if !c.d.pace.known() {
			drain = min(drain, unknownDrain)
		}
		for _, v := range c.d.takeLast(min(c.d.waiting-atHand, most-len(taken)), match) {
			taken = append(taken, Surplus[T]{Value: v, Drain: drain})
		}
		l.refresh(c.d)
	}
	l.waiting -= len(taken)
	return taken
}

// takeLast takes up to n entries from the end, from the tenant with the most first.
func (d *destination[T]) takeLast(n int, match func(T) bool) []T {
	var taken []T
	tenants := make([]*tenant[T], 0, len(d.tenants))
	for _, t := range d.tenants {
		tenants = append(tenants, t)
	}
	slices.SortFunc(tenants, func(a, b *tenant[T]) int { return b.len() - a.len() })
	for _, t := range tenants {
		for c := classes - 1; c >= 0 && len(taken) < n; c-- {
			taken = append(taken, t.classes[c].takeLast(n-len(taken), match)...)
		}
		d.forget(t)
	}
	if len(taken) > 0 {
		d.chosen = nil
	}
	d.waiting -= len(taken)
	return taken
}

// takeLast takes up to n entries that match wants from the end; the others keep their order.
func (q *fifo[T]) takeLast(n int, match func(T) bool) []T {
	var taken []T
	var kept []entry[T]
	i := len(q.entries)
	for ; i > q.head && len(taken) < n; i-- {
		if e := q.entries[i-1]; match(e.value) {
			taken = append(taken, e.value)
		} else {
			kept = append(kept, e)
		}
	}
	slices.Reverse(kept)
	q.entries = append(append([]entry[T](nil), q.entries[q.head:i]...), kept...)
	q.head = 0
	slices.Reverse(taken)
	return taken
}
