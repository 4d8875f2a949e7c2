// SPDX-License-Identifier: Apache-2.0

package settle

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/ledger"
)

// BySweep is the actor of what the sweep of PARK settles.
const BySweep = "park_sweep"

// Cancelled returns the outcome of a record that was taken back by a change, without an attempt.
func Cancelled(mail *eventv1.QueuedMail, at ledger.Place, by *eventv1.Change, now time.Time) *eventv1.Outcome {
	o := FromRecord(mail, at, now)
	o.Actor = by.GetActor()
	for _, r := range mail.GetEnvelope().GetRecipients() {
		o.Results = append(o.Results, &eventv1.RecipientResult{Recipient: r, PossibleDuplicate: mail.GetPossibleDuplicate()})
	}
	for _, r := range o.GetResults() {
		cancel(r, by)
	}
	return o
}

// Cancel makes cancelled what an outcome has deferred, since the mail was taken back while it was attempted.
func Cancel(o *eventv1.Outcome, by *eventv1.Change) {
	o.Actor = by.GetActor()
	for _, r := range o.GetResults() {
		if r.GetState() == eventv1.RecipientState_RECIPIENT_STATE_DEFERRED {
			cancel(r, by)
		}
	}
	o.Pause = nil
}

func cancel(r *eventv1.RecipientResult, by *eventv1.Change) {
	failure := (&smtpreply.Error{
		Stage: smtpreply.StageLocal, Reason: smtpreply.ReasonCancelled, Detail: "the message was taken back before it was delivered",
	}).Proto()
	r.State = eventv1.RecipientState_RECIPIENT_STATE_CANCELLED
	r.Failure, r.Status, r.Reply, r.RemoteMta, r.Pause = failure, failure.GetStatus(), nil, "", nil
	r.DelayNoticeDue, r.CancelNoticeDue = false, by.GetNotify()
}

// Aside is why a record is set aside, as its sender is told.
type Aside struct {
	Reason  smtpreply.Reason // held or suspended
	Expires time.Time
}

// ExpiredAside returns the outcome of a record whose time ran out while it was set aside. What is told as the cause
// is the last failure of each recipient, or why it was set aside when there was none.
func ExpiredAside(mail *eventv1.QueuedMail, at ledger.Place, why Aside, now time.Time) *eventv1.Outcome {
	o := why.outcome(mail, at, now)
	for _, r := range o.GetResults() {
		r.State = eventv1.RecipientState_RECIPIENT_STATE_EXPIRED
		r.Status = smtpreply.ReasonExpired.Status().Proto()
	}
	return o
}

// DelayedAside returns the outcome that tells the sender of a delay while the record is set aside: everybody stays
// deferred, and those due says are told of.
func DelayedAside(
	mail *eventv1.QueuedMail, at ledger.Place, why Aside, due func(*eventv1.Recipient) bool, now time.Time,
) *eventv1.Outcome {
	o := why.outcome(mail, at, now)
	o.Id += "-delayed" // the next attempt has an id of its own
	for _, r := range o.GetResults() {
		r.State = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
		if due(r.GetRecipient()) {
			r.Recipient = proto.CloneOf(r.GetRecipient())
			r.DelayNoticeDue, r.Recipient.DelayNoticed = true, true
		}
	}
	return o
}

func (a Aside) outcome(mail *eventv1.QueuedMail, at ledger.Place, now time.Time) *eventv1.Outcome {
	o := FromRecord(mail, at, now)
	o.Actor, o.ExpiresAt = BySweep, timestamppb.New(a.Expires)
	own := (&smtpreply.Error{Stage: smtpreply.StageLocal, Reason: a.Reason, Detail: asideDetail(a.Reason)}).Proto()
	for _, r := range mail.GetEnvelope().GetRecipients() {
		failure := r.GetLastFailure()
		if failure == nil {
			failure = own
		}
		o.Results = append(o.Results, &eventv1.RecipientResult{
			Recipient: r, Failure: failure, Status: failure.GetStatus(), Reply: failure.GetReply(),
			PossibleDuplicate: mail.GetPossibleDuplicate(),
		})
	}
	return o
}

func asideDetail(r smtpreply.Reason) string {
	if r == smtpreply.ReasonSuspended {
		return "mail to the destination is suspended by an operator"
	}
	return "the message was set aside by an operator"
}
