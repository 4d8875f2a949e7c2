// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"slices"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Lane tells how a lane stands.
type Lane struct {
	Key     Key
	Waiting int
	// Running and Limit are those of the whole site.
	Running int
	Limit   int
	// LastFailure is that of a site whose last attempts reached no host; nil otherwise. Down says that it is only
	// probed, NextProbe how long it is to that; 0 when one is due or under way.
	LastFailure *eventv1.Failure
	Down        bool
	NextProbe   time.Duration
}

// Snapshot returns the lanes in which something waits, and one without tenant and priority for each site where
// something only runs, or that is down. The fullest come first. With a site only that one's.
func (l *Lanes[T]) Snapshot(only string) []Lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lanes []Lane
	for name, d := range l.lanes {
		if only != "" && name != only {
			continue
		}
		whole := l.whole(name)
		whole.Running = d.running
		if d.waiting == 0 {
			lanes = append(lanes, whole)
		}
		for _, t := range d.tenants {
			lanes = append(lanes, t.lanes(whole)...)
		}
	}
	for name, c := range l.conditions {
		if (only == "" || name == only) && l.lanes[name] == nil && c.down() {
			lanes = append(lanes, l.whole(name))
		}
	}
	slices.SortFunc(lanes, func(a, b Lane) int { return b.Waiting - a.Waiting })
	return lanes
}

func (l *Lanes[T]) whole(name string) Lane {
	lane := Lane{Key: Key{Site: name}, Limit: l.limit(name)}
	if c := l.conditions[name]; c != nil {
		lane.LastFailure, lane.Down = c.last, c.down()
		if lane.Down && !c.probing {
			lane.NextProbe = max(0, time.Until(c.next))
		}
	}
	return lane
}

func (t *tenant[T]) lanes(lane Lane) []Lane {
	var lanes []Lane
	for c := range t.classes {
		if n := t.classes[c].len(); n > 0 {
			lane.Key.Tenant, lane.Key.Priority, lane.Waiting = t.name, t.classes[c].front().priority, n
			lanes = append(lanes, lane)
		}
	}
	return lanes
}
