// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// Dismissal is the 421 to the message before, which ends the session for the one that rode behind it too (S-48).
type Dismissal struct {
	// Failure is that of the message before.
	Failure *smtpreply.Error
}

func (d *Dismissal) Error() string { return d.Failure.Error() }

// Unwrap returns the failure.
func (d *Dismissal) Unwrap() error { return d.Failure }

// turn is where a waiter stands.
type turn int

const (
	turnWaits   turn = iota // in the queue of its site
	turnBoards              // behind a session in use
	turnGranted             // an answer is in its channel
	turnLeft                // nobody waits any more
)

// waiter is an attempt that waits.
type waiter struct {
	request *Request
	message *smtpclient.Message // nil: cannot ride
	granted chan grant          // holds one
	turn    turn                // of Pool.mu

	boarding sync.Mutex // held while another attempt reads the message
	gone     bool       // of boarding
}

type grant struct {
	lease *Lease
	err   error
}

// grant answers; Pool.mu is held.
func (w *waiter) grant(g grant) {
	w.turn = turnGranted
	w.granted <- g
}

// wait waits for the answer.
func (w *waiter) wait(ctx context.Context, p *Pool) (*Lease, error) {
	limit := time.NewTimer(maxWait)
	defer limit.Stop()
	select {
	case g := <-w.granted:
		return g.lease, g.err
	case <-ctx.Done():
		return w.leave(p, context.Cause(ctx))
	case <-limit.C:
	}
	p.mu.Lock()
	boards := w.turn == turnBoards
	p.mu.Unlock()
	if !boards {
		return w.leave(p, ErrBusy)
	}
	select { // the reply to the dot before decides
	case g := <-w.granted:
		return g.lease, g.err
	case <-ctx.Done():
		return w.leave(p, context.Cause(ctx))
	}
}

// leave ends the waiting, unless an answer has come.
func (w *waiter) leave(p *Pool, why error) (*Lease, error) {
	p.mu.Lock()
	before := w.turn
	switch before {
	case turnGranted:
		p.mu.Unlock()
		g := <-w.granted
		return g.lease, g.err
	case turnWaits:
		s := p.sites[w.request.Site]
		s.waiting = slices.DeleteFunc(s.waiting, func(other *waiter) bool { return other == w })
	}
	w.turn = turnLeft
	p.mu.Unlock()
	w.boarding.Lock() // until the other attempt has done with the message
	w.gone = true
	w.boarding.Unlock()
	return nil, why
}

// firstFor takes the first waiter of a kind out of the queue; nil when there is none.
func (s *site) firstFor(key Key, fits func(*waiter) bool) *waiter {
	for i, w := range s.waiting {
		if w.request.Key == key && fits(w) {
			s.waiting = slices.Delete(s.waiting, i, i+1)
			return w
		}
	}
	return nil
}

// serve gives leave to open connections to those that wait, while there is room; p.mu is held. A site of which nothing
// is left is forgotten.
func (p *Pool) serve(name string, s *site) {
	for i := 0; i < len(s.waiting); {
		w := s.waiting[i]
		if !p.room(s, w.request) {
			if s.open >= p.limits.Window(name) {
				break
			}
			i++
			continue
		}
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.count(w.request.Key.address, +1)
		w.grant(grant{lease: p.lease(w.request, nil)})
	}
	if s.open == 0 && len(s.waiting) == 0 && p.sites[name] == s {
		delete(p.sites, name)
	}
}
