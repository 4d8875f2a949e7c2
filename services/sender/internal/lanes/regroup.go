// SPDX-License-Identifier: Apache-2.0

package lanes

import "time"

// Learn notes the site of a domain's route, as the resolver names it. What waits for the domain goes over to the lane of
// that site, in its order. It is quick when nothing has changed, and may be called for each attempt.
func (l *Lanes[T]) Learn(domain, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, now := l.sites.Learn(domain, name)
	from := l.lanes[before]
	if before == now || from == nil {
		return
	}
	to := l.lane(now, time.Now())
	for _, t := range from.tenants {
		for c := range t.classes {
			for _, e := range t.classes[c].entries[t.classes[c].head:] {
				if e.domain == domain {
					to.push(t.name, c, e)
				}
			}
		}
	}
	from.remove(func(e entry[T]) bool { return e.domain == domain })
	if before == domain && from.waiting == 0 { // it was a lane of this domain alone
		to.running += from.running
		from.running, from.into = 0, to
		if c := l.conditions[before]; c != nil {
			delete(l.conditions, before)
			if l.conditions[now] == nil {
				l.conditions[now] = c
			}
		}
	}
	l.refresh(from)
	l.refresh(to)
}
