// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"slices"
	"time"

	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// keep lets a session wait for its next message; p.mu is held. It returns the sessions to be ended for it, which may be
// the session itself.
func (p *Pool) keep(s *site, l *Lease) (gone []*smtpclient.Conn) {
	k := &kept{conn: l.Conn, key: l.request.Key, site: l.request.Site, since: time.Now()}
	if p.closed || s.open > p.window(l.request) || !k.conn.Park(func() { go p.drop(k) }) {
		s.count(k.key.address, -1)
		return []*smtpclient.Conn{k.conn}
	}
	if p.idle.Len() == 0 {
		p.timer.Reset(maxIdle)
	}
	k.in = p.idle.PushBack(k)
	s.idle = append(s.idle, k)
	if p.idle.Len() > maxKept {
		gone = append(gone, p.dismiss(p.idle.Front().Value.(*kept)))
	}
	return gone
}

// take takes an idle session out; p.mu is held.
func (p *Pool) take(s *site, k *kept) {
	p.idle.Remove(k.in)
	k.in = nil
	i := slices.Index(s.idle, k)
	s.idle = slices.Delete(s.idle, i, i+1)
}

// dismiss takes an idle session out for good; p.mu is held.
func (p *Pool) dismiss(k *kept) *smtpclient.Conn {
	s := p.sites[k.site]
	p.take(s, k)
	k.conn.Unpark()
	s.count(k.key.address, -1)
	p.serve(k.site, s)
	return k.conn
}

// drop ends an idle session that the host has ended.
func (p *Pool) drop(k *kept) {
	p.mu.Lock()
	if k.in == nil {
		p.mu.Unlock()
		return
	}
	p.dismiss(k)
	p.mu.Unlock()
	k.conn.Quit()
}

// expire ends sessions that were idle for too long.
func (p *Pool) expire() {
	p.mu.Lock()
	var gone []*smtpclient.Conn
	now := time.Now()
	for front := p.idle.Front(); front != nil; front = p.idle.Front() {
		k := front.Value.(*kept)
		if left := k.since.Add(maxIdle).Sub(now); left > 0 {
			p.timer.Reset(left)
			break
		}
		gone = append(gone, p.dismiss(k))
	}
	p.mu.Unlock()
	for _, c := range gone {
		go c.Quit()
	}
}

// Close ends all idle sessions, and from now on each one that is given back.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.timer.Stop()
	var gone []*smtpclient.Conn
	for front := p.idle.Front(); front != nil; front = p.idle.Front() {
		gone = append(gone, p.dismiss(front.Value.(*kept)))
	}
	p.mu.Unlock()
	quit(gone)
}
