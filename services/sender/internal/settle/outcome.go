// SPDX-License-Identifier: Apache-2.0

package settle

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/ledger"
)

// maxReturnedContent is the largest message that is returned whole with RET=FULL (D-08).
const maxReturnedContent = 50 << 10

// Kind says whether a notification may be due for an outcome (section 4 of the rules). A message with the null
// reverse-path is never reported on (D-03); the rest is for the notifications' own policy to decide.
func Kind(o *eventv1.Outcome) bus.OutcomeKind {
	if o.GetEnvelopeSender() == "" {
		return bus.Quiet
	}
	for _, r := range o.GetResults() {
		switch r.GetState() {
		case eventv1.RecipientState_RECIPIENT_STATE_BOUNCED, eventv1.RecipientState_RECIPIENT_STATE_EXPIRED,
			eventv1.RecipientState_RECIPIENT_STATE_RELAYED:
			return bus.Notice
		}
		if r.GetDelayNoticeDue() || r.GetCancelNoticeDue() {
			return bus.Notice
		}
	}
	return bus.Quiet
}

// Returned says how many bytes of the message stand behind an outcome, from its beginning, and whether that is all of
// it: the header block, or the whole content of a failed message when RET=FULL allows it (D-08, D-16). Behind a quiet
// outcome there is nothing.
func Returned(o *eventv1.Outcome) (n int64, full bool) {
	c := o.GetContent()
	if Kind(o) == bus.Quiet {
		return 0, false
	}
	if o.GetRet() == eventv1.Ret_RET_FULL && !o.GetRequireTls() && c.GetSize() <= maxReturnedContent && failed(o) {
		return int64(c.GetSize()), true
	}
	return int64(min(uint64(c.GetHeaderSize()), c.GetSize())), false
}

func failed(o *eventv1.Outcome) bool {
	for _, r := range o.GetResults() {
		switch r.GetState() {
		case eventv1.RecipientState_RECIPIENT_STATE_BOUNCED, eventv1.RecipientState_RECIPIENT_STATE_EXPIRED:
			return true
		}
	}
	return false
}

// Mark notes on every result that the recipient may get the message twice.
func Mark(o *eventv1.Outcome) {
	for _, r := range o.GetResults() {
		r.PossibleDuplicate = true
	}
}

// Expire makes failed what an outcome has deferred, since no wait fits before the message expires. The failure
// that led here stays, so that the time limit does not hide the cause.
func Expire(o *eventv1.Outcome) {
	for _, r := range o.GetResults() {
		if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DEFERRED {
			continue
		}
		r.State = eventv1.RecipientState_RECIPIENT_STATE_EXPIRED
		r.Status = smtpreply.ReasonExpired.Status().Proto()
		r.Pause = nil
		r.DelayNoticeDue = false
	}
	o.Pause = nil
}

// HoldRest sets aside with the others what an outcome has deferred: they are one record with one content, and it is that
// which is at fault.
func HoldRest(o *eventv1.Outcome) {
	for _, r := range o.GetResults() {
		if r.GetState() == eventv1.RecipientState_RECIPIENT_STATE_DEFERRED {
			r.State, r.Pause, r.DelayNoticeDue = eventv1.RecipientState_RECIPIENT_STATE_HELD, nil, false
		}
	}
	o.Pause = nil
}

// HeldReason is why a record is set aside.
type HeldReason struct {
	Reason smtpreply.Reason
	Detail string // a plain sentence
}

// Held returns the outcome of a record that is set aside. mail is nil when it cannot be decoded: then the outcome has no
// recipients, and its id is made of the place.
func Held(mail *eventv1.QueuedMail, at ledger.Place, why HeldReason, now time.Time) *eventv1.Outcome {
	o := FromRecord(mail, at, now)
	o.Actor = "sender"
	failure := (&smtpreply.Error{Stage: smtpreply.StageLocal, Reason: why.Reason, Detail: why.Detail}).Proto()
	if mail == nil {
		o.Id = UnreadableID(at)
		return o
	}
	for _, r := range mail.GetEnvelope().GetRecipients() {
		o.Results = append(o.Results, &eventv1.RecipientResult{
			Recipient: r, State: eventv1.RecipientState_RECIPIENT_STATE_HELD, Status: failure.GetStatus(),
			Failure: failure, PossibleDuplicate: mail.GetPossibleDuplicate(),
		})
	}
	return o
}

// Faulted returns the outcome of an attempt that ended in a fault of our own: everybody is deferred.
func Faulted(mail *eventv1.QueuedMail, at ledger.Place, pause time.Duration, expires, now time.Time) *eventv1.Outcome {
	o := FromRecord(mail, at, now)
	o.ExpiresAt = timestamppb.New(expires)
	o.Pause = durationpb.New(pause)
	o.Attempt = &eventv1.Attempt{Number: mail.GetAttempt() + 1, StartedAt: timestamppb.New(now)}
	failure := (&smtpreply.Error{
		Stage: smtpreply.StageLocal, Reason: smtpreply.ReasonInternal, Detail: "the attempt ended in a fault of the sender",
	}).Proto()
	o.Attempt.Failure = failure
	for _, r := range mail.GetEnvelope().GetRecipients() {
		o.Results = append(o.Results, &eventv1.RecipientResult{
			Recipient: withFailure(r, failure), State: eventv1.RecipientState_RECIPIENT_STATE_DEFERRED,
			Status: failure.GetStatus(), Failure: failure, Pause: o.Pause, PossibleDuplicate: true,
		})
	}
	return o
}

func withFailure(r *eventv1.Recipient, f *eventv1.Failure) *eventv1.Recipient {
	r = proto.CloneOf(r)
	r.LastFailure = f
	return r
}

// UnreadableID returns the id of the outcome of something at a place that cannot be decoded.
func UnreadableID(at ledger.Place) string {
	return fmt.Sprintf("unreadable.%s.%d.%d", at.Stream, at.Sequence, at.Index)
}

// FromRecord returns an outcome of this record with all that stands in the record itself, and without results.
func FromRecord(mail *eventv1.QueuedMail, at ledger.Place, now time.Time) *eventv1.Outcome {
	e := mail.GetEnvelope()
	return &eventv1.Outcome{
		Id:              bus.OutcomeID(mail.GetMessageId(), mail.GetPart(), mail.GetAttempt()+1),
		MessageId:       mail.GetMessageId(),
		Part:            mail.GetPart(),
		Parts:           mail.GetParts(),
		Source:          at.Source(),
		EnvelopeSender:  e.GetSender(),
		Ret:             e.GetRet(),
		Envid:           e.GetEnvid(),
		RequireTls:      e.GetRequireTls(),
		Smtputf8:        e.GetSmtputf8(),
		Tenant:          mail.GetTenant(),
		Priority:        mail.GetPriority(),
		AcceptedAt:      mail.GetAcceptedAt(),
		DecidedAt:       timestamppb.New(now),
		Trace:           mail.GetTrace(),
		Destination:     mail.GetDestination(),
		Content:         mail.GetContent(),
		Loop:            mail.GetLoop(),
		IdempotencyHash: mail.GetIdempotencyHash(),
		SubmitDigest:    mail.GetSubmitDigest(),
		Tag:             mail.GetTag(),
		ReportsOn:       mail.GetReportsOn(),
		Hop:             mail.GetHop(),
	}
}
