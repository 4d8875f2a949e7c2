// SPDX-License-Identifier: Apache-2.0

package sitelimit

import "time"

// bucket lets so many messages through a minute, evenly: one that was idle lets those of a second through at once. The
// zero value is full.
type bucket struct {
	free time.Time // when the next message may go, were there no burst
}

// wait is how long the next message has to wait at rate messages a minute.
func (b *bucket) wait(now time.Time, rate int) time.Duration {
	if rate <= 0 || !b.free.After(now) {
		return 0
	}
	return max(0, b.free.Sub(now)-burst(rate))
}

// spend lets one through.
func (b *bucket) spend(now time.Time, rate int) {
	if rate <= 0 {
		return
	}
	if b.free.Before(now) {
		b.free = now
	}
	b.free = b.free.Add(each(rate))
}

func each(rate int) time.Duration { return time.Minute / time.Duration(rate) }

// burst is how far ahead of their time messages may go: a second, but never a whole message more.
func burst(rate int) time.Duration { return max(0, time.Second-each(rate)) }

// Take asks leave to start a message of a tenant to a site. 0: it is counted and may start; else nothing is counted, and
// it is worth asking again after that time.
func (l *Limiter) Take(name, tenant string) (wait time.Duration) {
	c := l.o.Config(name)
	if c.Rate <= 0 && c.TenantRate <= 0 {
		return 0
	}
	all, own := c.Rate, c.TenantRate
	if all > 0 {
		all = l.share(all)
	}
	if own > 0 {
		own = l.share(own)
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.site(name)
	if s.tenants == nil {
		s.tenants = map[string]*bucket{}
	}
	t := s.tenants[tenant]
	if t == nil {
		s.dropIdle(now)
		t = &bucket{}
		s.tenants[tenant] = t
	}
	if wait = max(s.all.wait(now, all), t.wait(now, own)); wait > 0 {
		return wait
	}
	s.all.spend(now, all)
	t.spend(now, own)
	return 0
}

// dropIdle forgets tenants whose bucket is full again.
func (s *site) dropIdle(now time.Time) {
	for name, b := range s.tenants {
		if !b.free.After(now) {
			delete(s.tenants, name)
		}
	}
}
