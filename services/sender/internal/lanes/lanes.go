// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"context"
	"sync"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Key says which lane something waits in.
type Key struct {
	Destination string
	Tenant      string
	Priority    eventv1.Priority
}

// Limits bound what runs at once.
type Limits struct {
	// PerDestination is the number of attempts that may run to a destination. It is asked whenever one may start, so
	// it may change, and must be quick. Less than 1 is 1.
	PerDestination func(destination string) int
	// Total is the number of attempts that may run in all.
	Total int
}

// Lanes hold what waits to be attempted. They are safe for use by many goroutines.
type Lanes[T any] struct {
	limits Limits
	wake   chan struct{} // something may be startable

	mu           sync.Mutex
	destinations map[string]*destination[T]
	ready        ring[*destination[T]] // destinations where something waits and may start
	running      int
	waiting      int
}

// New returns empty lanes.
func New[T any](limits Limits) *Lanes[T] {
	return &Lanes[T]{
		limits:       limits,
		wake:         make(chan struct{}, 1),
		destinations: make(map[string]*destination[T]),
	}
}

// Run is something that was handed out to be attempted. Done must be called once when the attempt is over.
type Run[T any] struct {
	Value T
	Key   Key

	lanes *Lanes[T]
	once  sync.Once
}

// Push lets v wait in the lane of k. size is that of the message in bytes: large ones count for more when turns are
// shared out.
func (l *Lanes[T]) Push(k Key, size int64, v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.destinations[k.Destination]
	if d == nil {
		d = newDestination[T](k.Destination)
		l.destinations[k.Destination] = d
	}
	d.pace.start(time.Now())
	d.push(k.Tenant, class(k.Priority), entry[T]{value: v, priority: k.Priority, cost: cost(size)})
	l.waiting++
	l.refresh(d)
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
		l := r.lanes
		l.mu.Lock()
		defer l.mu.Unlock()
		l.running--
		d := l.destinations[r.Key.Destination]
		d.running--
		d.pace.finished(time.Now())
		l.refresh(d)
		l.nudge()
	})
}

// Remove takes out everything that waits and that match wants, in no particular order.
func (l *Lanes[T]) Remove(match func(T) bool) []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	removed := make([]T, 0, l.waiting)
	for _, d := range l.destinations {
		removed = append(removed, d.remove(match)...)
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
	d, ok := l.ready.next(func(d *destination[T]) int { return d.peek().cost })
	if !ok {
		return nil
	}
	tenant, e := d.pop()
	l.waiting--
	l.running++
	l.refresh(d)
	if l.ready.len() > 0 {
		l.nudge() // a second taker may find more
	}
	return &Run[T]{
		Value: e.value, lanes: l,
		Key: Key{Destination: d.name, Tenant: tenant, Priority: e.priority},
	}
}

// refresh puts a destination into the round or takes it out, and forgets it when it is idle; l.mu is held.
func (l *Lanes[T]) refresh(d *destination[T]) {
	startable := d.waiting > 0 && d.running < l.limit(d.name)
	switch {
	case startable && d.inRound == nil:
		d.inRound = l.ready.add(d)
		l.nudge()
	case !startable && d.inRound != nil:
		l.ready.remove(d.inRound)
		d.inRound = nil
	}
	if d.waiting == 0 && d.running == 0 {
		delete(l.destinations, d.name)
	}
}

func (l *Lanes[T]) limit(name string) int { return max(1, l.limits.PerDestination(name)) }

func (l *Lanes[T]) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
