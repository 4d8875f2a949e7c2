// SPDX-License-Identifier: Apache-2.0

package lanes

import "container/list"

// Turns are shared out in units: one for a message, one more for every 16 KiB of it, at most maxCost, so that a round
// stays short. quantum is what each flow gets in a round.
const (
	unitBytes = 16 << 10
	maxCost   = 32
	quantum   = 4
)

func cost(size int64) int { return int(min(1+max(size, 0)/unitBytes, maxCost)) }

// ring shares turns out by deficit round robin. The flow at the front is served until what it may send is used up, then
// it goes to the back and the next gets its quantum.
type ring[F any] struct {
	flows  list.List // of *flow[F]
	served bool      // the flow at the front has had its quantum
}

type flow[F any] struct {
	of      F
	deficit int
}

func (r *ring[F]) len() int { return r.flows.Len() }

// add puts a flow at the back.
func (r *ring[F]) add(f F) *list.Element { return r.flows.PushBack(&flow[F]{of: f}) }

// remove takes a flow out. What it had left is lost, so that one that comes and goes saves nothing up.
func (r *ring[F]) remove(e *list.Element) {
	if e == r.flows.Front() {
		r.served = false
	}
	r.flows.Remove(e)
}

// next returns whose turn it is, and charges it the cost of what it sends. ok is false when there is none.
func (r *ring[F]) next(cost func(F) int) (f F, ok bool) {
	for front := r.flows.Front(); front != nil; front = r.flows.Front() {
		head := front.Value.(*flow[F])
		if !r.served {
			head.deficit += quantum
			r.served = true
		}
		if c := cost(head.of); head.deficit >= c {
			head.deficit -= c
			return head.of, true
		}
		r.flows.MoveToBack(front)
		r.served = false
	}
	return f, false
}
