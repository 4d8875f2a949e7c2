// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"context"
	"sync"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/site"
)

// Key says which lane something waits in.
type Key struct {
	Site     string
	Tenant   string
	Priority eventv1.Priority
}

// Mail is what the lanes know of what waits.
type Mail struct {
	// Domain is where it goes to; its site is looked up.
	Domain   string
	Tenant   string
	Priority eventv1.Priority
	// Size is that of the message in bytes: large ones count for more when turns are shared out.
	Size int64
}

// Limits bound what runs at once.
type Limits struct {
	// PerSite is the number of attempts that may run to a site. It is asked whenever one may start, so it may change,
	// and must be quick. Less than 1 is 1.
	PerSite func(site string) int
	// Total is the number of attempts that may run in all.
	Total int
}

// Lanes hold what waits to be attempted. They are safe for use by many goroutines.
type Lanes[T any] struct {
	limits Limits
	sites  *site.Map
	wake   chan struct{} // something may be startable

	mu         sync.Mutex
	lanes      map[string]*lane[T]
	ready      ring[*lane[T]] // lanes where something waits and may start
	conditions map[string]*condition
	running    int
	waiting    int
}

// New returns empty lanes. sites says which site a domain belongs to.
func New[T any](limits Limits, sites *site.Map) *Lanes[T] {
	return &Lanes[T]{
		limits: limits, sites: sites,
		wake:       make(chan struct{}, 1),
		lanes:      make(map[string]*lane[T]),
		conditions: make(map[string]*condition),
	}
}

// Run is something that was handed out to be attempted. Done must be called once when the attempt is over, after what it
// came to was reported.
type Run[T any] struct {
	Value T
	Key   Key

	lanes *Lanes[T]
	lane  *lane[T]
	probe bool
	once  sync.Once
}

// Push lets v wait in its lane.
func (l *Lanes[T]) Push(m Mail, v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.lane(l.sites.Of(m.Domain), time.Now())
	d.push(m.Tenant, class(m.Priority), entry[T]{
		value: v, domain: m.Domain, priority: m.Priority, size: m.Size, cost: cost(m.Size),
	})
	l.waiting++
	l.refresh(d)
}

// lane returns the lane of a site, a new one if there is none; l.mu is held.
func (l *Lanes[T]) lane(name string, now time.Time) *lane[T] {
	d := l.lanes[name]
	if d == nil {
		d = newLane[T](name)
		l.lanes[name] = d
	}
	d.pace.start(now)
	return d
}

// Take waits until something may be attempted and hands it out. The only error is that of ctx.
func (l *Lanes[T]) Take(ctx context.Context) (*Run[T], error) {
	for {
		if r := l.next(); r != nil {
			return r, nil
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Done gives back the room the attempt took.
func (r *Run[T]) Done() {
	r.once.Do(func() {
		l, now := r.lanes, time.Now()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.running--
		d := r.lane.standing()
		d.running--
		d.pace.finished(now)
		if r.probe {
			l.unprobed(d.name, now)
		}
		l.refresh(d)
		l.nudge()
	})
}

// Remove takes out everything that waits and that match wants, in no particular order.
func (l *Lanes[T]) Remove(match func(T) bool) []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	var removed []T
	for _, d := range l.lanes {
		for _, e := range d.remove(func(e entry[T]) bool { return match(e.value) }) {
			removed = append(removed, e.value)
		}
		l.refresh(d)
	}
	l.waiting -= len(removed)
	return removed
}

// Waiting returns how much waits, and Running how much was handed out and is not done.
func (l *Lanes[T]) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

// Running returns how many attempts run.
func (l *Lanes[T]) Running() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running
}

// next hands out what is next, nil when nothing may start.
func (l *Lanes[T]) next() *Run[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running >= l.limits.Total {
		return nil
	}
	d, ok := l.ready.next(func(d *lane[T]) int { return d.peek().cost })
	if !ok {
		return nil
	}
	tenant, e := d.pop()
	l.waiting--
	l.running++
	r := &Run[T]{
		Value: e.value, lanes: l, lane: d,
		Key: Key{Site: d.name, Tenant: tenant, Priority: e.priority},
	}
	if c := l.conditions[d.name]; c.down() {
		c.probing, r.probe = true, true
	}
	l.refresh(d)
	if l.ready.len() > 0 {
		l.nudge() // a second taker may find more
	}
	return r
}

// refresh puts a lane into the round or takes it out, and forgets it when it is idle; l.mu is held.
func (l *Lanes[T]) refresh(d *lane[T]) {
	startable := d.waiting > 0 && d.running < l.limit(d.name)
	if c := l.conditions[d.name]; c.down() || d.probe != nil {
		now := time.Now()
		startable = startable && c.open(now)
		l.wakeFor(d, c, now)
	}
	switch {
	case startable && d.inRound == nil:
		d.inRound = l.ready.add(d)
		l.nudge()
	case !startable && d.inRound != nil:
		l.ready.remove(d.inRound)
		d.inRound = nil
	}
	if d.waiting == 0 && d.running == 0 && l.lanes[d.name] == d {
		delete(l.lanes, d.name)
	}
}

func (l *Lanes[T]) limit(name string) int { return max(1, l.limits.PerSite(name)) }

func (l *Lanes[T]) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
