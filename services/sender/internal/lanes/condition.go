// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

const (
	// downAfter is the number of attempts in a row that reach no host of a site, after which it is down.
	downAfter = 3
	// mostConditions bounds the sites remembered that fail; one that was not heard of for forgetAfter goes first.
	mostConditions = 10_000
	forgetAfter    = time.Hour
	// downShare is the part of the time a site has been down that its mail waits at least, so that the mail of one that
	// stays down for days is not copied every few minutes.
	downShare   = 8
	longestDown = 4 * time.Hour
)

// probeAfter returns how long after it went down, and then after each probe that failed, a site is probed.
func probeAfter(probes int) time.Duration {
	minutes := [...]time.Duration{1, 2, 5, 10, 15}
	return minutes[min(probes, len(minutes)-1)] * time.Minute
}

// condition is that of a site whose hosts cannot be reached. A nil condition is that of one that can.
type condition struct {
	failures int // attempts in a row
	last     *eventv1.Failure
	heard    time.Time
	since    time.Time // it is down since then; zero while it is not
	next     time.Time // not probed before
	probes   int       // that failed
	probing  bool      // a probe is under way
}

func (c *condition) down() bool { return c != nil && !c.since.IsZero() }

// open reports whether an attempt may start now.
func (c *condition) open(now time.Time) bool {
	return !c.down() || !c.probing && !now.Before(c.next)
}

// failed notes an attempt that reached no host.
func (c *condition) failed(failure *eventv1.Failure, now time.Time) {
	c.failures++
	c.last, c.heard = failure, now
	switch {
	case !c.down() && c.failures >= downAfter:
		c.since, c.next = now, now.Add(probeAfter(0))
	case c.probing: // others began before the site was down
		c.probing = false
		c.probes++
		c.next = now.Add(probeAfter(c.probes))
	}
}

// outlook says when the next probe is, or what a site that has been down for long is given.
func (c *condition) outlook(now time.Time) Outlook {
	wait := c.next.Sub(now)
	if c.probing {
		wait = probeAfter(c.probes)
	}
	return Outlook{Wait: min(max(wait, now.Sub(c.since)/downShare), longestDown), Down: c.last}
}

// Report takes what an attempt for a domain came to, as far as it tells of the site: nil when a host answered, the last
// failure when all of them failed to connect or greet. After three of those in a row the site is down: nothing is
// handed out for it but one probe at a time, 1, 2, 5, 10, 15, 15 … minutes apart, until a host answers. An
// attempt that tried no host is not reported.
func (l *Lanes[T]) Report(domain string, failure *eventv1.Failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := l.sites.Of(domain)
	c, now := l.conditions[name], time.Now()
	switch {
	case failure == nil && c == nil:
		return
	case failure == nil:
		delete(l.conditions, name)
	default:
		if c == nil {
			if c = l.newCondition(name, now); c == nil {
				return
			}
		}
		c.failed(failure, now)
	}
	if d := l.lanes[name]; d != nil {
		l.refresh(d)
	}
}

// newCondition returns nil when too many sites fail already.
func (l *Lanes[T]) newCondition(name string, now time.Time) *condition {
	if len(l.conditions) >= mostConditions {
		for other, c := range l.conditions {
			if now.Sub(c.heard) > forgetAfter {
				delete(l.conditions, other)
			}
		}
		if len(l.conditions) >= mostConditions {
			return nil
		}
	}
	c := new(condition)
	l.conditions[name] = c
	return c
}

// unprobed notes that a probe came to nothing: it tried no host.
func (l *Lanes[T]) unprobed(name string, now time.Time) {
	if c := l.conditions[name]; c.down() && c.probing {
		c.probing = false
		c.next = now.Add(probeAfter(0))
	}
}

// wakeFor looks again at a lane when its site may be probed; l.mu is held.
func (l *Lanes[T]) wakeFor(d *lane[T], c *condition, now time.Time) {
	if d.probe != nil {
		d.probe.Stop()
		d.probe = nil
	}
	if d.waiting == 0 || !c.down() || c.probing || !now.Before(c.next) {
		return
	}
	d.probe = time.AfterFunc(c.next.Sub(now), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.refresh(d.standing())
	})
}
