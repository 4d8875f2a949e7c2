// SPDX-License-Identifier: Apache-2.0

package due

import "time"

// Line says when the segments of one RETRY stream come due, asked for in order. All wait equally long, so of two
// segments the second is due as much later as it was stored later: that holds whatever happened to a clock since.
// The zero value is ready for use.
type Line struct {
	stored time.Time // of the segment asked for last, by the server's clock
	due    time.Time
}

// Due returns the moment, on this process's monotonic clock, at which a segment comes due that the server stored at
// stored and that waits the given time. server is the server's clock now. A segment that seems to come from the future
// (the server's clock was set back since) waits from now on, or as long after the one before it as it was stored
// after it, whichever is sooner.
func (l *Line) Due(stored time.Time, wait time.Duration, server, now time.Time) time.Time {
	age := max(server.Sub(stored), 0)
	due := now.Add(wait - age)
	if !l.stored.IsZero() && !stored.Before(l.stored) {
		if behind := l.due.Add(stored.Sub(l.stored)); behind.Before(due) {
			due = behind
		}
	}
	l.stored, l.due = stored, due
	return due
}
