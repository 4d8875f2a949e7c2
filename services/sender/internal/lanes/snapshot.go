// SPDX-License-Identifier: Apache-2.0

package lanes

import "slices"

// Lane tells how a lane stands.
type Lane struct {
	Key     Key
	Waiting int
	// Running and Limit are those of the whole destination.
	Running int
	Limit   int
}

// Snapshot returns the lanes in which something waits, and one without tenant and priority for each destination where
// something only runs. The fullest come first. With a destination only that one's.
func (l *Lanes[T]) Snapshot(only string) []Lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lanes []Lane
	for _, d := range l.destinations {
		if only != "" && d.name != only {
			continue
		}
		whole := Lane{Key: Key{Destination: d.name}, Running: d.running, Limit: l.limit(d.name)}
		if d.waiting == 0 {
			lanes = append(lanes, whole)
		}
		for _, t := range d.tenants {
			lanes = append(lanes, t.lanes(whole)...)
		}
	}
	slices.SortFunc(lanes, func(a, b Lane) int { return b.Waiting - a.Waiting })
	return lanes
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
