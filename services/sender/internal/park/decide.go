// SPDX-License-Identifier: Apache-2.0

package park

import (
	"time"

	"github.com/postrider/postrider/kit/changes"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

// Kind is what becomes of a record.
type Kind uint8

// Kinds of decision.
const (
	// Go: nothing holds it; it is attempted.
	Go Kind = iota
	// Cancel: it was taken back, by Decision.By.
	Cancel
	// Stay: it lies in PARK, or goes there, for Decision.Why.
	Stay
	// Expire: its time is over.
	Expire
	// Tell: its sender is told of the delay, and then it lies in PARK.
	Tell
)

// Decision is what becomes of one record.
type Decision struct {
	Kind Kind
	By   *eventv1.Change
	Why  string // settle.ForPark or settle.ForHold
	// Aside is why it is set aside, for Expire and Tell.
	Aside settle.Aside
}

// Schedule says when mail expires and when its sender is told (retryschedule.Config).
type Schedule interface {
	ExpiresAt(acceptedAt time.Time, nullSender bool) time.Time
	DelayNoticeDue(r *eventv1.Recipient, acceptedAt, now time.Time, nullSender bool) bool
	// NoticeAfter is the age from which a delay is told.
	NoticeAfter() time.Duration
}

// Decide decides for a record that is to be attempted now, or that lies in PARK. now is the server's time.
func Decide(m *eventv1.QueuedMail, s changes.Standing, schedule Schedule, now time.Time) Decision {
	d := Decision{Kind: Stay, Why: settle.ForPark}
	switch {
	case s.Cancelled != nil:
		return Decision{Kind: Cancel, By: s.Cancelled}
	case m.GetMovedFor() == settle.ForHold: // until a release copies it as another
		d.Why = settle.ForHold
		d.Aside.Reason = smtpreply.ReasonHeld
	case s.Held != nil:
		d.Aside.Reason = smtpreply.ReasonHeld
	case s.Suspended != nil:
		d.Aside.Reason = smtpreply.ReasonSuspended
	default:
		return Decision{Kind: Go}
	}
	accepted, null := m.GetAcceptedAt().AsTime(), m.GetEnvelope().GetSender() == ""
	d.Aside.Expires = schedule.ExpiresAt(accepted, null)
	if !d.Aside.Expires.After(now) {
		d.Kind = Expire
		return d
	}
	for _, r := range m.GetEnvelope().GetRecipients() {
		if schedule.DelayNoticeDue(r, accepted, now, null) {
			d.Kind = Tell
			return d
		}
	}
	return d
}

// Due returns which recipients of a record are told of the delay.
func Due(m *eventv1.QueuedMail, schedule Schedule, now time.Time) func(*eventv1.Recipient) bool {
	accepted, null := m.GetAcceptedAt().AsTime(), m.GetEnvelope().GetSender() == ""
	return func(r *eventv1.Recipient) bool { return schedule.DelayNoticeDue(r, accepted, now, null) }
}

// Leaves returns when a record of PARK expires, or its sender is to be told, whichever comes first.
func Leaves(m *eventv1.QueuedMail, schedule Schedule) time.Time {
	accepted, null := m.GetAcceptedAt().AsTime(), m.GetEnvelope().GetSender() == ""
	at := schedule.ExpiresAt(accepted, null)
	for _, r := range m.GetEnvelope().GetRecipients() {
		if schedule.DelayNoticeDue(r, accepted, at, null) {
			return accepted.Add(schedule.NoticeAfter())
		}
	}
	return at
}
