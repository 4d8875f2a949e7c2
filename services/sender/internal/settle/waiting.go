// SPDX-License-Identifier: Apache-2.0

package settle

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/ledger"
)

// Spilled returns the record as it waits for its lane without an attempt. down is the last failure of a site that is
// down, nil otherwise; every recipient takes it along, so that it is told should the mail expire.
func Spilled(mail *eventv1.QueuedMail, at ledger.Place, down *eventv1.Failure, w due.Wait) *eventv1.QueuedMail {
	next := Copy(mail, at, ForSpill, w)
	if down != nil {
		for _, r := range next.GetEnvelope().GetRecipients() {
			r.LastFailure = cause(r, down)
		}
	}
	return next
}

// Delay is why and how long a record waits without an attempt.
type Delay struct {
	Pause          time.Duration
	Down           *eventv1.Failure // the last failure of a site that is down; nil while it is not
	ExpiresAt, Now time.Time
	Notice         func(*eventv1.Recipient) bool // its sender is to be told of the delay
}

// Waiting returns the outcome of a record that waits on without an attempt, for when its sender has to be told of that.
// Everybody is deferred.
func Waiting(mail *eventv1.QueuedMail, at ledger.Place, d Delay) *eventv1.Outcome {
	o := FromRecord(mail, at, d.Now)
	o.Id += "-delayed" // the next attempt has an id of its own
	o.Actor = ForSpill
	o.ExpiresAt = timestamppb.New(d.ExpiresAt)
	o.Pause = durationpb.New(d.Pause)
	for _, r := range mail.GetEnvelope().GetRecipients() {
		r = proto.CloneOf(r)
		r.LastFailure = cause(r, d.Down)
		result := &eventv1.RecipientResult{
			Recipient: r, State: eventv1.RecipientState_RECIPIENT_STATE_DEFERRED, Pause: o.Pause,
			Status: r.LastFailure.GetStatus(), Failure: r.LastFailure, Reply: r.LastFailure.GetReply(),
			PossibleDuplicate: mail.GetPossibleDuplicate(), DelayNoticeDue: d.Notice(r),
		}
		r.DelayNoticed = r.GetDelayNoticed() || result.GetDelayNoticeDue()
		o.Results = append(o.Results, result)
	}
	return o
}

// cause is what a recipient is told of a wait: that its site is down and how, unless an earlier host's reply says more.
func cause(r *eventv1.Recipient, down *eventv1.Failure) *eventv1.Failure {
	own := r.GetLastFailure()
	switch {
	case own.GetReply().GetCode() != 0 && down.GetReply().GetCode() == 0, own != nil && down == nil:
		return own
	case down == nil:
		return (&smtpreply.Error{
			Stage: smtpreply.StageLocal, Reason: smtpreply.ReasonConnectionLimit,
			Detail: "the destination takes mail more slowly than it comes",
		}).Proto()
	}
	told := proto.CloneOf(down)
	told.Reason = string(smtpreply.ReasonSiteDown)
	told.Detail = "no host of the destination could be reached in several attempts running: " + down.GetDetail()
	return told
}
