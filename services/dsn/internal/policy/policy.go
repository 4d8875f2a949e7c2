// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Decision says for one kind whether a notification is due for some recipients of an outcome.
type Decision struct {
	// Kind is the kind looked at.
	Kind Kind
	// Reason is ReasonDue, or why no notification is due.
	Reason Reason
	// Recipients holds positions in the outcome's results, ascending, never empty.
	Recipients []int
}

// Due reports whether a notification is due.
func (d Decision) Due() bool { return d.Reason == ReasonDue }

// Key returns the idempotency key of the notification: "dsn/<outcome id>/<kind>" (D-05). Exactly one notification
// exists for each key, whatever crashes.
func (d Decision) Key(outcomeID string) string { return "dsn/" + outcomeID + "/" + string(d.Kind) }

// Divide returns the decision as up to two: of what is due the recipients for whom later, asked with their place in
// Recipients, says so are told in a list (D-17). What is not due is not divided.
func (d Decision) Divide(later func(at int) bool) []Decision {
	if !d.Due() {
		return []Decision{d}
	}
	alone, joined := Decision{Kind: d.Kind, Reason: d.Reason}, Decision{Kind: d.Kind, Reason: ReasonThrottled}
	for at, i := range d.Recipients {
		if later(at) {
			joined.Recipients = append(joined.Recipients, i)
		} else {
			alone.Recipients = append(alone.Recipients, i)
		}
	}
	return slices.DeleteFunc([]Decision{alone, joined}, func(d Decision) bool { return len(d.Recipients) == 0 })
}

// Decide returns one decision for each pair of kind and reason among the results, ordered by kind, what is due first.
// Every result is in exactly one decision; at most one decision of a kind is due and holds all recipients of that kind
// that are to be named in the one notification (D-05). It is a pure function of the outcome.
func Decide(o *eventv1.Outcome) []Decision {
	var decisions []Decision
	for i, result := range o.GetResults() {
		kind, reason := judge(o, result)
		at := slices.IndexFunc(decisions, func(d Decision) bool { return d.Kind == kind && d.Reason == reason })
		if at < 0 {
			at = len(decisions)
			decisions = append(decisions, Decision{Kind: kind, Reason: reason})
		}
		decisions[at].Recipients = append(decisions[at].Recipients, i)
	}
	slices.SortStableFunc(decisions, func(a, b Decision) int {
		return cmp.Or(a.Kind.Compare(b.Kind), dueFirst(a)-dueFirst(b))
	})
	return decisions
}

// judge decides for one recipient.
func judge(o *eventv1.Outcome, result *eventv1.RecipientResult) (Kind, Reason) {
	kind, reason := event(result)
	switch {
	case kind == None:
		return kind, reason
	case o.GetReportsOn() != "":
		return kind, ReasonOwnNotification
	case o.GetEnvelopeSender() == "":
		return kind, ReasonNullSender
	case reason != ReasonDue:
		return kind, reason
	default:
		return kind, requested(kind, result.GetRecipient().GetNotify())
	}
}

// event returns what happened to a recipient, as a kind, and whether that alone already rules a notification out.
func event(result *eventv1.RecipientResult) (Kind, Reason) {
	switch result.GetState() {
	case eventv1.RecipientState_RECIPIENT_STATE_BOUNCED, eventv1.RecipientState_RECIPIENT_STATE_EXPIRED:
		return Failed, ReasonDue
	case eventv1.RecipientState_RECIPIENT_STATE_CANCELLED:
		if result.GetCancelNoticeDue() {
			return Failed, ReasonDue
		}
		return Failed, ReasonCancelledQuietly
	case eventv1.RecipientState_RECIPIENT_STATE_DEFERRED:
		if result.GetDelayNoticeDue() {
			return Delayed, ReasonDue
		}
		return Delayed, ReasonDelayNotDue
	case eventv1.RecipientState_RECIPIENT_STATE_DELIVERED, eventv1.RecipientState_RECIPIENT_STATE_RELAYED:
		return success(result)
	case eventv1.RecipientState_RECIPIENT_STATE_HELD:
		return None, ReasonHeld
	default:
		return None, ReasonNotSettled
	}
}

// success tells the two kinds of success apart. A host that took the parameters reports itself (RFC 3461,
// section 5.2.1). One that did not ends the chain of reports, and who asked for SUCCESS is told so (section 5.2.2).
func success(result *eventv1.RecipientResult) (Kind, Reason) {
	asked := slices.Contains(result.GetRecipient().GetNotify(), eventv1.Notify_NOTIFY_SUCCESS)
	switch {
	case asked && result.GetDsnPassedOn():
		return Delivered, ReasonPassedOn
	case asked:
		return Relayed, ReasonDue
	default:
		return Delivered, ReasonNotRequested
	}
}

// requested applies NOTIFY (RFC 3461, section 4.1). Not given means failure and delay (D-04). NEVER wins over what
// stands beside it, though the gateway refuses such a list. Values this binary does not know are ignored.
func requested(kind Kind, notify []eventv1.Notify) Reason {
	var never, success, failure, delay bool
	for _, n := range notify {
		never = never || n == eventv1.Notify_NOTIFY_NEVER
		success = success || n == eventv1.Notify_NOTIFY_SUCCESS
		failure = failure || n == eventv1.Notify_NOTIFY_FAILURE
		delay = delay || n == eventv1.Notify_NOTIFY_DELAY
	}
	if never {
		return ReasonNotifyNever
	}
	if !success && !failure && !delay {
		failure, delay = true, true
	}
	wanted := map[Kind]bool{Failed: failure, Delayed: delay, Relayed: success, Delivered: success}
	if wanted[kind] {
		return ReasonDue
	}
	return ReasonNotRequested
}

func dueFirst(d Decision) int {
	if d.Due() {
		return 0
	}
	return 1
}
