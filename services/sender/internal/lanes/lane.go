// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"container/list"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// lane is what waits and runs for one site.
type lane[T any] struct {
	name    string
	tenants map[string]*tenant[T]
	turns   ring[*tenant[T]]
	inRound *list.Element // in Lanes.ready; nil when it may not start anything
	waiting int
	bytes   int64 // of the messages that wait
	running int
	pace    pace
	probe   *time.Timer // looks again when the site, which is down, may be probed
	into    *lane[T]    // the lane this one was joined to; nil while it stands
	// chosen is the tenant whose turn it is; it stays so until it is served, since choosing charges it.
	chosen *tenant[T]
}

func newLane[T any](name string) *lane[T] {
	return &lane[T]{name: name, tenants: make(map[string]*tenant[T])}
}

func (d *lane[T]) push(name string, c int, e entry[T]) {
	t := d.tenants[name]
	if t == nil {
		t = &tenant[T]{name: name}
		t.inTurn = d.turns.add(t)
		d.tenants[name] = t
	}
	t.classes[c].push(e)
	d.waiting++
	d.bytes += e.size
}

// peek returns what is next, without taking it.
func (d *lane[T]) peek() entry[T] {
	if d.chosen == nil {
		d.chosen, _ = d.turns.next(func(t *tenant[T]) int { return t.classes[t.choose()].front().cost })
	}
	return d.chosen.classes[d.chosen.choose()].front()
}

// pop takes what peek showed and counts it as running.
func (d *lane[T]) pop() (tenant string, e entry[T]) {
	d.peek()
	t := d.chosen
	c := t.choose()
	e = t.classes[c].pop()
	t.served(c)
	d.chosen = nil
	d.waiting--
	d.bytes -= e.size
	d.running++
	d.forget(t)
	return t.name, e
}

// remove takes out what match wants.
func (d *lane[T]) remove(match func(entry[T]) bool) []entry[T] {
	var removed []entry[T]
	for _, t := range d.tenants {
		for c := range t.classes {
			removed = append(removed, t.classes[c].remove(match)...)
		}
		d.forget(t)
	}
	d.taken(removed)
	return removed
}

// taken notes that entries were taken out otherwise than by pop.
func (d *lane[T]) taken(out []entry[T]) {
	if len(out) > 0 {
		d.chosen = nil
	}
	d.waiting -= len(out)
	for _, e := range out {
		d.bytes -= e.size
	}
}

// standing returns the lane that this one has become.
func (d *lane[T]) standing() *lane[T] {
	for d.into != nil {
		d = d.into
	}
	return d
}

// forget drops a tenant for whom nothing waits.
func (d *lane[T]) forget(t *tenant[T]) {
	if t.len() > 0 {
		return
	}
	d.turns.remove(t.inTurn)
	delete(d.tenants, t.name)
}

// classes are the priorities in the order in which they go.
const (
	urgent = iota
	normal
	bulk
	classes
)

func class(p eventv1.Priority) int {
	switch p {
	case eventv1.Priority_PRIORITY_URGENT:
		return urgent
	case eventv1.Priority_PRIORITY_BULK:
		return bulk
	default:
		return normal
	}
}

// floor is the turns of others after which a class that waits gets one: a tenth.
const floor = 9

// tenant is what waits for one tenant of a site.
type tenant[T any] struct {
	name    string
	classes [classes]fifo[T]
	passed  [classes]int // turns of other classes since this one waits and had its last
	inTurn  *list.Element
}

func (t *tenant[T]) len() int {
	return t.classes[urgent].len() + t.classes[normal].len() + t.classes[bulk].len()
}

// choose returns the class whose turn it is: one that was passed over often enough, else the most urgent.
func (t *tenant[T]) choose() int {
	first := -1
	for c := range t.classes {
		if t.classes[c].len() == 0 {
			continue
		}
		if t.passed[c] >= floor {
			return c
		}
		if first < 0 {
			first = c
		}
	}
	return first
}

// served notes that a class had its turn.
func (t *tenant[T]) served(c int) {
	for other := range t.classes {
		if other == c || t.classes[other].len() == 0 {
			t.passed[other] = 0
		} else {
			t.passed[other]++
		}
	}
}

type entry[T any] struct {
	value    T
	domain   string
	priority eventv1.Priority
	size     int64
	cost     int
}

// fifo is a queue whose memory shrinks with it.
type fifo[T any] struct {
	entries []entry[T]
	head    int
}

func (q *fifo[T]) len() int        { return len(q.entries) - q.head }
func (q *fifo[T]) front() entry[T] { return q.entries[q.head] }
func (q *fifo[T]) push(e entry[T]) { q.entries = append(q.entries, e) }

func (q *fifo[T]) pop() entry[T] {
	e := q.entries[q.head]
	q.entries[q.head] = entry[T]{}
	q.head++
	switch {
	case q.head == len(q.entries):
		q.entries, q.head = nil, 0
	case q.head > 64 && q.head > len(q.entries)/2:
		q.entries, q.head = append([]entry[T](nil), q.entries[q.head:]...), 0
	}
	return e
}

func (q *fifo[T]) remove(match func(entry[T]) bool) []entry[T] {
	var removed []entry[T]
	kept := make([]entry[T], 0, q.len())
	for _, e := range q.entries[q.head:] {
		if match(e) {
			removed = append(removed, e)
		} else {
			kept = append(kept, e)
		}
	}
	q.entries, q.head = kept, 0
	return removed
}
