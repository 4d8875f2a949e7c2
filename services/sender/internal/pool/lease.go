// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"time"

	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// Lease is a session in use, or leave to open one.
type Lease struct {
	// Conn is the session; nil: the holder opens one and sets it, or releases the lease without.
	Conn *smtpclient.Conn
	// Kept says that the session was used for another message before.
	Kept bool

	pool    *Pool
	request *Request
	began   time.Time
	behind  *waiter // takes the session next, its envelope may be on its way
}

func (p *Pool) lease(r *Request, c *smtpclient.Conn) *Lease {
	return &Lease{Conn: c, Kept: c != nil, pool: p, request: r, began: time.Now()}
}

// Use is what came of a lease.
type Use int

// The uses.
const (
	// Used is anything that says nothing of how busy the site is.
	Used Use = iota
	// Delivered is a message that was taken.
	Delivered
	// Failed is a host that was not reached, gave no greeting, or ended the session with 421.
	Failed
)

// Next takes the message of an attempt that waits for a session like this one along (smtpclient.Message.Next): the
// session is its next, whether or not the envelope can ride.
func (l *Lease) Next(board func(*smtpclient.Message)) {
	p := l.pool
	if p == nil || l.behind != nil || !reusable(l.Conn) {
		return
	}
	p.mu.Lock()
	w := p.site(l.request.Site).firstFor(l.request.Key, func(w *waiter) bool {
		return w.message != nil && !w.request.Fresh
	})
	if w != nil {
		w.turn = turnBoards
		l.behind = w
	}
	p.mu.Unlock()
	if w == nil {
		return
	}
	w.boarding.Lock()
	defer w.boarding.Unlock()
	if !w.gone {
		board(w.message)
	}
}

// Renew ends the session and makes the lease leave to open another one.
func (l *Lease) Renew() {
	l.Conn.Quit()
	l.Conn, l.Kept, l.began = nil, false, time.Now()
}

// Release gives the lease back. The session goes to the attempt that rides on it, to one that waits for its like, or is
// kept; one that is of no more use is ended. It must be called once.
func (l *Lease) Release(u Use) {
	p := l.pool
	if p == nil {
		if l.Conn != nil {
			l.Conn.Quit()
		}
		return
	}
	p.mu.Lock()
	s := p.sites[l.request.Site]
	switch u {
	case Delivered:
		p.limits.Succeeded(l.request.Site, s.open-len(s.idle))
	case Failed:
		p.limits.Failed(l.request.Site, l.began)
	}
	gone := p.pass(s, l)
	p.serve(l.request.Site, s)
	p.mu.Unlock()
	quit(gone)
}

// pass hands the session on; p.mu is held. It returns the sessions to be ended.
func (p *Pool) pass(s *site, l *Lease) (gone []*smtpclient.Conn) {
	c, w, key := l.Conn, l.behind, l.request.Key
	if w != nil && w.turn == turnLeft {
		w = nil
	}
	switch {
	case c != nil && c.Rides() != nil && w != nil && c.Rides() == w.message:
		w.grant(grant{lease: p.lease(w.request, c)})
		return nil
	case c != nil && c.Usable() && reusable(c) && !p.closed:
		if w == nil && s.open <= p.window(l.request) {
			w = s.firstFor(key, func(w *waiter) bool { return !w.request.Fresh })
		}
		if w != nil {
			w.grant(grant{lease: p.lease(w.request, c)})
			return nil
		}
		if len(s.waiting) == 0 {
			return p.keep(s, l)
		}
	}
	if c != nil {
		gone = append(gone, c)
	}
	s.count(key.address, -1)
	if w == nil {
		return gone
	}
	// The session is lost to the one behind: what it said was not answered. A 421 to the dot is for both.
	if c != nil && c.Farewell() != nil {
		w.grant(grant{err: &Dismissal{Failure: c.Farewell()}})
		return gone
	}
	s.count(w.request.Key.address, +1)
	w.grant(grant{lease: p.lease(w.request, nil)})
	return gone
}
