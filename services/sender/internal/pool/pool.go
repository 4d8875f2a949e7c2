// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"container/list"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// Limits of a session and of the pool (S-71).
const (
	maxMessages = 100
	maxAge      = 5 * time.Minute
	maxIdle     = 5 * time.Second
	maxKept     = 2000 // idle sessions in all; beyond, the oldest is ended
	maxWait     = 5 * time.Minute
)

// ErrBusy is a site all of whose connections were in use for the whole time an attempt waits (S-74).
var ErrBusy = errors.New("no connection of the site was free in time")

// Limits bound connections.
type Limits interface {
	// Window is how many connections to a site may be open.
	Window(site string) int
	// Succeeded is told of a message that was taken while so many connections to the site were in use; Failed of a host
	// that could not be reached, or ended a session that began at began with 421.
	Succeeded(site string, inUse int)
	Failed(site string, began time.Time)
	// Host is how many of them may lead to one address; 0: all.
	Host(address netip.AddrPort) int
}

// Pool keeps sessions. It is safe for use by many goroutines. A nil Pool keeps nothing and limits nothing.
type Pool struct {
	limits Limits

	mu     sync.Mutex
	sites  map[string]*site
	idle   list.List   // of *kept, the longest idle first
	timer  *time.Timer // runs while something is idle
	closed bool
}

// site is what there is of one site. Its connections are open, being opened, or about to be.
type site struct {
	open    int
	hosts   map[netip.AddrPort]int // of these, by address
	idle    []*kept
	waiting []*waiter
}

// kept is an idle session.
type kept struct {
	conn  *smtpclient.Conn
	key   Key
	site  string
	since time.Time
	in    *list.Element // of Pool.idle
}

// New returns an empty pool.
func New(limits Limits) *Pool {
	p := &Pool{limits: limits, sites: map[string]*site{}}
	p.timer = time.AfterFunc(time.Hour, p.expire)
	p.timer.Stop()
	return p
}

// Request is what an attempt needs.
type Request struct {
	// Site is counted together.
	Site string
	// Key is that of the session.
	Key Key
	// Fresh says that no kept session will do.
	Fresh bool
	// Message is asked for the message when the attempt has to wait, so that its envelope may ride behind another one;
	// nil, or the answer nil: it cannot.
	Message func() *smtpclient.Message
}

// Acquire waits for a session, or for leave to open one. The errors are ErrBusy, a *Dismissal, and that of ctx. Release
// must be called on the lease.
func (p *Pool) Acquire(ctx context.Context, r Request) (*Lease, error) {
	if p == nil {
		return &Lease{}, nil
	}
	l, gone := p.tryAcquire(&r, nil)
	quit(gone)
	if l != nil {
		return l, nil
	}
	w := &waiter{request: &r, granted: make(chan grant, 1)}
	if r.Message != nil {
		w.message = r.Message()
	}
	l, gone = p.tryAcquire(&r, w)
	quit(gone)
	if l != nil {
		return l, nil
	}
	return w.wait(ctx, p)
}

// tryAcquire is Acquire without waiting. With a waiter, it is put into the queue when there is nothing. Sessions that
// are to be ended come back with it.
func (p *Pool) tryAcquire(r *Request, w *waiter) (l *Lease, gone []*smtpclient.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.site(r.Site)
	if !r.Fresh {
		for k := s.alike(r.Key); k != nil; k = s.alike(r.Key) {
			p.take(s, k)
			if k.conn.Unpark() && reusable(k.conn) {
				return p.lease(r, k.conn), gone
			}
			s.count(r.Key.address, -1)
			gone = append(gone, k.conn)
		}
	}
	if k := p.makeRoom(s, r); k != nil {
		gone = append(gone, k.conn)
	}
	if p.room(s, r) {
		s.count(r.Key.address, +1)
		return p.lease(r, nil), gone
	}
	if w != nil {
		s.waiting = append(s.waiting, w)
	}
	return nil, gone
}

// room reports that a connection may be opened.
func (p *Pool) room(s *site, r *Request) bool {
	if s.open >= p.window(r) {
		return false
	}
	most := p.limits.Host(r.Key.address)
	return most <= 0 || s.hosts[r.Key.address] < most
}

func (p *Pool) window(r *Request) int {
	return max(1, p.limits.Window(r.Site))
}

// makeRoom gives up an idle session of another kind where only that makes room.
func (p *Pool) makeRoom(s *site, r *Request) *kept {
	if len(s.idle) == 0 || s.open < p.window(r) {
		return nil
	}
	k := s.idle[0]
	p.take(s, k)
	k.conn.Unpark()
	s.count(k.key.address, -1)
	return k
}

// Open is how many connections to a site are open or being opened.
func (p *Pool) Open(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sites[name]; s != nil {
		return s.open
	}
	return 0
}

// alike is the idle session of this kind that was used last.
func (s *site) alike(key Key) *kept {
	for _, k := range slices.Backward(s.idle) {
		if k.key == key {
			return k
		}
	}
	return nil
}

func (p *Pool) site(name string) *site {
	s := p.sites[name]
	if s == nil {
		s = &site{hosts: map[netip.AddrPort]int{}}
		p.sites[name] = s
	}
	return s
}

// count notes that a connection was opened or closed.
func (s *site) count(address netip.AddrPort, delta int) {
	s.open += delta
	if s.hosts[address] += delta; s.hosts[address] == 0 {
		delete(s.hosts, address)
	}
}

// reusable reports that a session may take one more message.
func reusable(c *smtpclient.Conn) bool {
	most := maxMessages
	if n := c.Extensions().MaxMessages; n > 0 {
		most = min(most, n)
	}
	return c.Mails() < most && time.Since(c.Began()) < maxAge
}

// quit ends sessions that are in nobody's hands.
func quit(gone []*smtpclient.Conn) {
	for _, c := range gone {
		c.Quit()
	}
}
