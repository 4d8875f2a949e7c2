// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"cmp"
	"slices"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

const (
	// slow is the time to drain from which a lane is in the way of others, whatever it holds; brief the time below which
	// it is not, however much it holds.
	slow  = 10 * time.Second
	brief = time.Second
	// keepFor is for how long a slow lane keeps mail at hand when its surplus is taken out.
	keepFor = time.Minute
	// unknownDrain and longestDrain bound the estimate for a site that has taken nothing yet, and for any other.
	unknownDrain = 5 * time.Minute
	longestDrain = 20 * time.Minute
)

// Share is what a lane may hold before it is in the way of others.
type Share struct {
	Records int
	Bytes   int64
}

// Outlook is when something that waits in a lane can be expected to be attempted.
type Outlook struct {
	// Wait is the time the lane was estimated to need, or to the next probe of a site that is down.
	Wait time.Duration
	// Down is the last failure of a site that is down; nil while it is not.
	Down *eventv1.Failure
}

// Surplus is something taken out of a lane.
type Surplus[T any] struct {
	Value T
	Outlook
}

// TakeSurplus takes up to most waiting entries that match wants out of lanes that are slow, or hold more than their
// share, the slowest first, from the end of the lanes and the least urgent first. What a slow site can take within a
// minute stays, and so does a lane's share.
func (l *Lanes[T]) TakeSurplus(most int, share Share, match func(T) bool) []Surplus[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	type candidate struct {
		d     *lane[T]
		drain time.Duration
		keep  int
	}
	var slowest []candidate
	for _, d := range l.lanes {
		drain := d.pace.drain(d.waiting, now)
		if keep := l.keep(d, drain, share); keep < d.waiting {
			slowest = append(slowest, candidate{d, drain, keep})
		}
	}
	slices.SortFunc(slowest, func(a, b candidate) int { return cmp.Compare(b.drain, a.drain) })
	taken := make([]Surplus[T], 0, len(slowest))
	for _, c := range slowest {
		outlook := Outlook{Wait: c.d.pace.expected(c.drain)}
		taken = append(taken, l.takeOut(c.d, min(c.d.waiting-c.keep, most-len(taken)), outlook, match)...)
	}
	return taken
}

// keep returns how much of what waits in a lane stays when room is needed.
func (l *Lanes[T]) keep(d *lane[T], drain time.Duration, share Share) int {
	keep := d.waiting
	if drain >= slow {
		keep = max(2*l.limit(d.name), int(float64(d.waiting)*float64(keepFor)/float64(drain)))
	}
	if drain >= brief {
		keep = min(keep, share.Records)
		if d.bytes > share.Bytes {
			keep = min(keep, int(int64(d.waiting)*share.Bytes/d.bytes))
		}
	}
	return max(keep, 1)
}

// TakeDown takes what waits for sites that are down and that match wants, but for one entry of each, which is there to
// probe the site.
func (l *Lanes[T]) TakeDown(match func(T) bool) []Surplus[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	var taken []Surplus[T]
	now := time.Now()
	for name, c := range l.conditions {
		if d := l.lanes[name]; d != nil && c.down() {
			taken = append(taken, l.takeOut(d, d.waiting-1, c.outlook(now), match)...)
		}
	}
	return taken
}

// Outlook says when mail for a domain can be expected to be attempted.
func (l *Lanes[T]) Outlook(domain string) Outlook {
	l.mu.Lock()
	defer l.mu.Unlock()
	name, now := l.sites.Of(domain), time.Now()
	if c := l.conditions[name]; c.down() {
		return c.outlook(now)
	}
	if d := l.lanes[name]; d != nil {
		return Outlook{Wait: d.pace.expected(d.pace.drain(d.waiting, now))}
	}
	return Outlook{}
}

// takeOut takes up to n entries from the end of a lane; l.mu is held.
func (l *Lanes[T]) takeOut(d *lane[T], n int, outlook Outlook, match func(T) bool) []Surplus[T] {
	if n <= 0 {
		return nil
	}
	out := d.takeLast(n, match)
	l.waiting -= len(out)
	l.refresh(d)
	taken := make([]Surplus[T], 0, len(out))
	for _, e := range out {
		taken = append(taken, Surplus[T]{Value: e.value, Outlook: outlook})
	}
	return taken
}

// takeLast takes up to n entries from the end, from the tenant with the most first.
func (d *lane[T]) takeLast(n int, match func(T) bool) []entry[T] {
	var out []entry[T]
	tenants := make([]*tenant[T], 0, len(d.tenants))
	for _, t := range d.tenants {
		tenants = append(tenants, t)
	}
	slices.SortFunc(tenants, func(a, b *tenant[T]) int { return b.len() - a.len() })
	for _, t := range tenants {
		for c := classes - 1; c >= 0 && len(out) < n; c-- {
			out = append(out, t.classes[c].takeLast(n-len(out), match)...)
		}
		d.forget(t)
	}
	d.taken(out)
	return out
}

// takeLast takes up to n entries that match wants from the end; the others keep their order.
func (q *fifo[T]) takeLast(n int, match func(T) bool) []entry[T] {
	var taken, kept []entry[T]
	i := len(q.entries)
	for ; i > q.head && len(taken) < n; i-- {
		if e := q.entries[i-1]; match(e.value) {
			taken = append(taken, e)
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
