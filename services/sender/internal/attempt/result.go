// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"errors"
	"io/fs"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/mxfailover"
	"github.com/postrider/postrider/services/sender/internal/retryschedule"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/services/sender/internal/verdict"
)

// result is what the attempt came to for the i-th recipient.
func (r *run) result(i int, now time.Time) *eventv1.RecipientResult {
	one := r.results[i]
	after := proto.CloneOf(r.rec.GetEnvelope().GetRecipients()[i])
	res := &eventv1.RecipientResult{
		Recipient: after, Failure: one.Failure.Proto(), Reply: smtpreply.ReplyProto(one.Reply), RemoteMta: one.Host,
		PossibleDuplicate: r.rec.GetPossibleDuplicate(),
	}
	if one.Failure == nil {
		r.delivered(res, one)
		return res
	}
	if one.Failure.Reason != smtpreply.ReasonShutdown {
		after.LastFailure = res.Failure
	}
	res.Status = res.GetFailure().GetStatus()
	count(after, one)
	switch {
	case r.held(one):
		res.State = eventv1.RecipientState_RECIPIENT_STATE_HELD
	case one.Verdict == verdict.Bounce:
		res.State = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
	case r.e.o.Retry.GreetingRefusedFinal(after.GetGreetingRefused(), r.rec.GetAcceptedAt().AsTime(), now):
		r.refusedForGood(res, one)
	default:
		r.deferred(res, one, now)
	}
	return res
}

// delivered is relayed where the sender asked for a notice of success that the host will not give (D-07).
func (r *run) delivered(res *eventv1.RecipientResult, one mxfailover.Recipient) {
	res.State = eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
	wanted := slices.Contains(res.GetRecipient().GetNotify(), eventv1.Notify_NOTIFY_SUCCESS)
	if wanted && !one.DSN {
		res.State = eventv1.RecipientState_RECIPIENT_STATE_RELAYED
	}
	res.Status = one.Reply.StatusAt(smtpreply.StageDot).Proto()
	res.DsnPassedOn = one.DSN
	res.Recipient.AmbiguousInRow, res.Recipient.GreetingRefused = 0, 0
}

// count moves the counters that S-47 and S-15 look at. An attempt that was cut short changes none.
func count(after *eventv1.Recipient, one mxfailover.Recipient) {
	if one.Failure.Reason == smtpreply.ReasonShutdown {
		return
	}
	if one.Failure.Reason == smtpreply.ReasonAmbiguous {
		after.AmbiguousInRow++
	} else {
		after.AmbiguousInRow = 0
	}
	if one.AllRefused {
		after.GreetingRefused++
	} else {
		after.GreetingRefused = 0
	}
}

// held reports content that is gone or damaged: trying again cannot help, and it never goes out otherwise than it came.
func (r *run) held(one mxfailover.Recipient) bool {
	var damaged *smtpclient.ContentError
	gone := errors.Is(r.bodyErr, fs.ErrNotExist) || errors.As(r.bodyErr, &damaged)
	return gone && one.Failure.Stage == smtpreply.StageLocal
}

// refusedForGood ends what sender.retry.greeting_5xx says shall end (S-15).
func (r *run) refusedForGood(res *eventv1.RecipientResult, one mxfailover.Recipient) {
	final := *one.Failure
	final.Status = final.RecordedStatus().WithClass(5)
	res.State, res.Failure = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED, final.Proto()
	res.Status = res.GetFailure().GetStatus()
}

// deferred keeps the recipient for a later attempt, or lets it expire.
func (r *run) deferred(res *eventv1.RecipientResult, one mxfailover.Recipient, now time.Time) {
	retry, accepted, null := &r.e.o.Retry, r.rec.GetAcceptedAt().AsTime(), r.rec.GetEnvelope().GetSender() == ""
	after := res.GetRecipient()
	if one.Failure.Reason == smtpreply.ReasonAmbiguous {
		res.PossibleDuplicate = true
	}
	res.State = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
	if one.Failure.Reason == smtpreply.ReasonShutdown {
		res.Pause = durationpb.New(0)
		return
	}
	plan := retry.Next(retryschedule.Situation{
		Attempt: r.job.Number, AcceptedAt: accepted, Now: now, NullSender: null, Ambiguous: after.GetAmbiguousInRow(),
	})
	if plan.Expired {
		r.expired(res, one)
		return
	}
	res.Pause = durationpb.New(plan.Pause)
	if retry.DelayNoticeDue(after, accepted, now, null) {
		res.DelayNoticeDue, after.DelayNoticed = true, true
	}
}
