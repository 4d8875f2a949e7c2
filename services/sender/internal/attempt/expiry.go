// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/mxfailover"
)

// expired ends a recipient whose time is over. The status says so, and the failure told is the last one in which a host
// replied, so that "time limit" never hides the cause.
func (r *run) expired(res *eventv1.RecipientResult, one mxfailover.Recipient) {
	res.State = eventv1.RecipientState_RECIPIENT_STATE_EXPIRED
	res.Status = smtpreply.ReasonExpired.Status().Proto()
	if one.Failure.Code != 0 || one.Failure.Reason == smtpreply.ReasonAmbiguous {
		return
	}
	before := r.rec.GetEnvelope().GetRecipients()
	index := slices.IndexFunc(before, func(b *eventv1.Recipient) bool { return b.GetIndex() == res.GetRecipient().GetIndex() })
	failure, host := r.lastReply(before[max(index, 0)].GetLastFailure(), len(before) == 1)
	if failure != nil {
		res.Failure, res.Reply, res.RemoteMta = failure, failure.GetReply(), host
	}
}

// lastReply is the last failure of earlier attempts in which a host replied, and that host: the recipient's own last
// failure, else, for a record of one recipient, the last of its hosts.
func (r *run) lastReply(own *eventv1.Failure, alone bool) (failure *eventv1.Failure, host string) {
	tries := earlierTries(r.rec.GetHistory())
	if own.GetReply().GetCode() != 0 {
		for _, try := range tries {
			if proto.Equal(try.GetFailure().GetReply(), own.GetReply()) {
				return own, try.GetHost()
			}
		}
		return own, ""
	}
	for _, try := range tries {
		if alone && try.GetFailure().GetReply().GetCode() != 0 {
			return try.GetFailure(), try.GetHost()
		}
	}
	return nil, ""
}

// earlierTries are the tries that the history kept, the latest first.
func earlierTries(h *eventv1.History) []*eventv1.HostTry {
	var tries []*eventv1.HostTry
	for _, attempts := range [][]*eventv1.Attempt{h.GetLast(), h.GetFirst()} {
		for _, attempt := range slices.Backward(attempts) {
			for _, try := range slices.Backward(attempt.GetHosts()) {
				tries = append(tries, try)
			}
		}
	}
	return tries
}
