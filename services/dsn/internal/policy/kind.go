// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
)

// Kind is the kind of a notification. The word is the value of the Action field of its recipients (RFC 3464,
// section 2.3.3) and the last part of its idempotency key.
type Kind string

// The kinds, in the order in which they are decided.
const (
	// None is a result that no notification exists for: nothing is settled, or an operator holds the message.
	None Kind = ""
	// Failed is final failure: bounced, expired, or cancelled with notice.
	Failed Kind = "failed"
	// Delayed is mail that waits and is tried again.
	Delayed Kind = "delayed"
	// Relayed is mail handed to a host that gives no notifications (RFC 3461, section 5.2.2).
	Relayed Kind = "relayed"
	// Delivered is mail in its final mailbox. A relay never knows that, so Decide never finds it due: either the
	// next host reports it (D-06), or Relayed is the truth (D-07).
	Delivered Kind = "delivered"
)

// Proto returns the kind as it stands in dsn.v1.
func (k Kind) Proto() dsnv1.Kind {
	switch k {
	case Failed:
		return dsnv1.Kind_KIND_FAILED
	case Delayed:
		return dsnv1.Kind_KIND_DELAYED
	case Relayed:
		return dsnv1.Kind_KIND_RELAYED
	case Delivered:
		return dsnv1.Kind_KIND_DELIVERED
	default:
		return dsnv1.Kind_KIND_UNSPECIFIED
	}
}

// Compare orders kinds as they are decided and told.
func (k Kind) Compare(other Kind) int { return k.rank() - other.rank() }

func (k Kind) rank() int { return slices.Index([]Kind{Failed, Delayed, Relayed, Delivered, None}, k) }

// Reason is the machine-readable word for a decision.
type Reason string

// Reasons.
const (
	// ReasonDue is a notification that is due.
	ReasonDue Reason = "due"
	// ReasonNullSender is mail with the null reverse-path: never a notification (D-03; RFC 5321, section 4.5.5).
	ReasonNullSender Reason = "null_sender"
	// ReasonOwnNotification is a notification of ours that has a result itself: at most one level (D-15).
	ReasonOwnNotification Reason = "own_notification"
	// ReasonNotifyNever is NOTIFY=NEVER (RFC 3461, section 4.1).
	ReasonNotifyNever Reason = "notify_never"
	// ReasonNotRequested is a NOTIFY, given or by default, that does not ask for this kind (D-04).
	ReasonNotRequested Reason = "not_requested"
	// ReasonPassedOn is success at a host that offers DSN and was given the parameters: it reports (D-06).
	ReasonPassedOn Reason = "passed_on"
	// ReasonThrottled is one beyond the limits of D-17: it is told in a list at the end of its window.
	ReasonThrottled Reason = "notify_throttled"
	// ReasonDelayNotDue is a deferral before the time of the delayed notification, or after it was due once.
	ReasonDelayNotDue Reason = "delay_not_due"
	// ReasonCancelledQuietly is a cancel that asked for no notification.
	ReasonCancelledQuietly Reason = "cancelled_quietly"
	// ReasonHeld is mail an operator, or a fault of its record, holds back.
	ReasonHeld Reason = "held"
	// ReasonNotSettled is a state this binary does not know or that is no result.
	ReasonNotSettled Reason = "not_settled"
)
