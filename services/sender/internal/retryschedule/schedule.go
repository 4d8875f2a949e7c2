// SPDX-License-Identifier: Apache-2.0

package retryschedule

import (
	"slices"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

const (
	// shortestStream is the shortest pause a RETRY stream is named after; shorter ones are waited for in memory.
	shortestStream = time.Minute
	// longAmbiguous is the pause from the third ambiguous result in a row on, and lastAmbiguous the one that ends it
	// (S-47).
	longAmbiguous      = 4 * time.Hour
	longAmbiguousFrom  = 3
	lastAmbiguous      = 6
	greetingRefusedMin = 3
	greetingRefusedAge = time.Hour
)

// Situation is what the next pause depends on.
type Situation struct {
	// Attempt is the number of the attempt that has just ended, from 1.
	Attempt uint32
	// AcceptedAt is when the message was accepted, Now when the attempt ended.
	AcceptedAt, Now time.Time
	// NullSender says that the envelope sender is the null reverse-path.
	NullSender bool
	// Ambiguous is the number of ambiguous results in a row, the last one included; 0 when that was none.
	Ambiguous uint32
	// Jitter is added to the pause of the schedule; usually 0, as the queue spreads at dispatch.
	Jitter time.Duration
}

// Plan is what follows.
type Plan struct {
	// Pause is how long to wait; 0 when Expired.
	Pause time.Duration
	// Expired says that the recipient fails for good: its time is over, or it was ambiguous too often.
	Expired bool
}

// Next says when to try again. The pause never reaches beyond the expiry, so that a last attempt is made near it; with
// less left than the shortest wait the recipient expires. A message is always attempted once, however old it is.
func (c *Config) Next(s Situation) Plan {
	if s.Ambiguous >= lastAmbiguous {
		return Plan{Expired: true}
	}
	left := c.ExpiresAt(s.AcceptedAt, s.NullSender).Sub(s.Now)
	shortest := c.shortestWait()
	if left < shortest {
		return Plan{Expired: true}
	}
	pause := c.pause(s.Attempt) + s.Jitter
	switch {
	case s.Ambiguous >= longAmbiguousFrom:
		pause = max(pause, longAmbiguous)
	case s.Ambiguous > 0:
		pause = max(pause, c.AmbiguousPause.Std())
	}
	return Plan{Pause: min(max(pause, shortest), left)}
}

// shortestWait is the least worth waiting: a minute, or less where a pause is configured shorter.
func (c *Config) shortestWait() time.Duration {
	shortest := shortestStream
	for _, pause := range c.Pauses {
		shortest = min(shortest, pause.Std())
	}
	return shortest
}

// pause is the scheduled pause after an attempt.
func (c *Config) pause(attempt uint32) time.Duration {
	if len(c.Pauses) == 0 {
		return longAmbiguous
	}
	last := uint32(len(c.Pauses))
	return c.Pauses[min(max(attempt, 1), last)-1].Std()
}

// ExpiresAt is when a message accepted at acceptedAt is given up.
func (c *Config) ExpiresAt(acceptedAt time.Time, nullSender bool) time.Time {
	if nullSender {
		return acceptedAt.Add(c.ExpireAfterNull.Std())
	}
	return acceptedAt.Add(c.ExpireAfter.Std())
}

// DelayNoticeDue reports that a recipient which is deferred now must be told of once: it is old enough, was not
// told of yet, its NOTIFY has DELAY or was not given, and there is a sender to tell (D-03).
func (c *Config) DelayNoticeDue(r *eventv1.Recipient, acceptedAt, now time.Time, nullSender bool) bool {
	if nullSender || r.GetDelayNoticed() || now.Sub(acceptedAt) < c.DelayNoticeAfter.Std() {
		return false
	}
	return len(r.GetNotify()) == 0 || slices.Contains(r.GetNotify(), eventv1.Notify_NOTIFY_DELAY)
}

// NoticeAfter is the age of a message from which its sender is told of a delay.
func (c *Config) NoticeAfter() time.Duration { return c.DelayNoticeAfter.Std() }

// GreetingRefusedFinal reports that a recipient whose hosts all greet with 5yz is given up (S-15): times is how many
// attempts in a row came to nothing else.
func (c *Config) GreetingRefusedFinal(times uint32, acceptedAt, now time.Time) bool {
	return c.Greeting5xx == Greeting5xxBounce && times >= greetingRefusedMin && now.Sub(acceptedAt) >= greetingRefusedAge
}
