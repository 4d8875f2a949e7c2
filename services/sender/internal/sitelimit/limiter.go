// SPDX-License-Identifier: Apache-2.0

package sitelimit

import (
	"math"
	"net/netip"
	"sync"
	"time"
)

const (
	// first is the window of a site nothing is known of, and of one that works again.
	first = 2
	// afterFailure is how many connections an address that has just failed may have (S-74).
	afterFailure = 2
	// mostSites bounds the sites remembered. Beyond, those not used for forgetAfter are forgotten.
	mostSites   = 10_000
	forgetAfter = 10 * time.Minute
)

// Config is what an operator allows.
type Config struct {
	// Connections is the most connections to the site, over all senders.
	Connections int
	// Rate and TenantRate are the most messages a minute to the site, in all and of one tenant, over all senders; 0: no
	// limit.
	Rate, TenantRate int
}

// Options are what a limiter needs.
type Options struct {
	// Config gives what is configured for a site.
	Config func(site string) Config
	// Share is this sender's part of a limit that all senders keep together; nil: all of it.
	Share func(limit int) int
	// Fails reports an address that did not work lately; nil: none.
	Fails func(address netip.AddrPort) bool
	// Grew is called when more attempts may run to a site; nil: nobody is told.
	Grew func(site string)
}

// Limiter holds the windows and rates of all sites. It is safe for use by many goroutines.
type Limiter struct {
	o Options

	mu    sync.Mutex
	sites map[string]*site
	tick  time.Time // of the last look for sites to forget
}

type site struct {
	window    float64
	threshold float64 // up to it the window grows by one for each message, from it by one for each window full
	halved    time.Time
	used      time.Time
	all       bucket
	tenants   map[string]*bucket
}

// New returns a limiter that knows nothing yet.
func New(o Options) *Limiter { return &Limiter{o: o, sites: map[string]*site{}} }

// share is this sender's part of a limit.
func (l *Limiter) share(limit int) int {
	if l.o.Share != nil {
		limit = l.o.Share(limit)
	}
	return max(1, limit)
}

// Window is how many connections to a site may be open.
func (l *Limiter) Window(name string) int {
	most := l.share(l.o.Config(name).Connections)
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sites[name]; s != nil {
		return min(int(s.window), most)
	}
	return min(first, most)
}

// Attempts is how many attempts may run to a site: one for each connection and as many that ride behind them.
func (l *Limiter) Attempts(name string) int { return 2 * l.Window(name) }

// Host is how many connections may lead to one address; 0: as many as to its site.
func (l *Limiter) Host(address netip.AddrPort) int {
	if l.o.Fails != nil && l.o.Fails(address) {
		return afterFailure
	}
	return 0
}

// Succeeded notes a message that was taken while so many connections were in use. A window that is not used up does not
// grow: nobody knows whether the site would bear it.
func (l *Limiter) Succeeded(name string, inUse int) {
	most := float64(l.share(l.o.Config(name).Connections))
	l.mu.Lock()
	s := l.site(name)
	before := int(s.window)
	if inUse >= before && s.window < most {
		if s.window < s.threshold {
			s.window++
		} else {
			s.window += 1 / s.window
		}
	}
	s.window = min(s.window, most)
	grew := int(s.window) > before
	l.mu.Unlock()
	if grew && l.o.Grew != nil {
		l.o.Grew(name)
	}
}

// Failed notes a host that could not be reached, or said 421, over a connection begun at began. What began before the
// window was halved last is part of the same trouble and halves it no further.
func (l *Limiter) Failed(name string, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.site(name)
	if !began.After(s.halved) && !s.halved.IsZero() {
		return
	}
	s.window = max(1, s.window/2)
	s.threshold = max(first, s.window)
	s.halved = time.Now()
}

// Reopen gives a site that was down its first window again.
func (l *Limiter) Reopen(name string) {
	l.mu.Lock()
	s := l.site(name)
	grew := s.window < first
	s.window = first
	l.mu.Unlock()
	if grew && l.o.Grew != nil {
		l.o.Grew(name)
	}
}

// site is what is known of a site; l.mu is held.
func (l *Limiter) site(name string) *site {
	now := time.Now()
	s := l.sites[name]
	if s == nil {
		if len(l.sites) >= mostSites && now.Sub(l.tick) > time.Minute {
			l.forget(now)
		}
		s = &site{window: first, threshold: math.Inf(1)}
		l.sites[name] = s
	}
	s.used = now
	return s
}

// forget drops the sites that were not used for a while; l.mu is held.
func (l *Limiter) forget(now time.Time) {
	l.tick = now
	for name, s := range l.sites {
		if now.Sub(s.used) > forgetAfter {
			delete(l.sites, name)
		}
	}
}
