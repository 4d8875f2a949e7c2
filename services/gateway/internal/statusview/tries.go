// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// appendFor appends an attempt as it was for one recipient. Attempts after its last are left out, and the last one ends
// at the host that decided it: what was tried afterwards was for others of the same record.
func appendFor(list []*eventv1.Attempt, a *eventv1.Attempt, r result) []*eventv1.Attempt {
	if a.GetNumber() > r.attempt {
		return list
	}
	own := proto.CloneOf(a)
	if a.GetNumber() == r.attempt {
		if at := decidedAt(own.GetHosts(), r.RecipientResult); at >= 0 {
			own.Hosts = own.GetHosts()[:at+1]
			decide(own.GetHosts()[at], r.RecipientResult)
		}
	}
	for _, try := range own.GetHosts() {
		if f := try.GetFailure(); f != nil {
			f.Reason = reasonOf(f)
		}
	}
	return append(list, own)
}

// decidedAt is the try whose host gave the recipient's reply, -1 when none did. A host may have been tried at several
// addresses: a refusal is that of the first that came to the transaction, everything else that of the last.
func decidedAt(tries []*eventv1.HostTry, r *eventv1.RecipientResult) int {
	if r.GetRemoteMta() == "" {
		return -1
	}
	refused := r.GetState() == eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
	order := slices.Backward(tries)
	if refused {
		order = slices.All(tries)
	}
	for i, try := range order {
		if strings.EqualFold(strings.TrimSuffix(try.GetHost(), "."), strings.TrimSuffix(r.GetRemoteMta(), ".")) &&
			(!refused || try.GetStage() >= eventv1.Stage_STAGE_MAIL) {
			return i
		}
	}
	return -1
}

// decide words the deciding try for the recipient: its own failure or none, and what followed for it.
func decide(try *eventv1.HostTry, r *eventv1.RecipientResult) {
	switch r.GetState() {
	case eventv1.RecipientState_RECIPIENT_STATE_DELIVERED, eventv1.RecipientState_RECIPIENT_STATE_RELAYED:
		try.Failure, try.Stage, try.LeftFor, try.Transcript = nil, eventv1.Stage_STAGE_DOT, "delivered", nil
	case eventv1.RecipientState_RECIPIENT_STATE_BOUNCED:
		try.Failure, try.LeftFor = proto.CloneOf(r.GetFailure()), "bounce"
	case eventv1.RecipientState_RECIPIENT_STATE_DEFERRED:
		try.Failure, try.LeftFor = proto.CloneOf(r.GetFailure()), "defer"
	default: // expired, held, cancelled: the try is told as it was
		return
	}
	if f := try.GetFailure(); f != nil {
		try.Stage = f.GetStage()
	}
}

// reasonOf is the machine-readable reason of a failure, also of one whose reply says all. Empty without a failure.
func reasonOf(f *eventv1.Failure) string {
	if f == nil {
		return ""
	}
	return string(smtpreply.FromProto(f).Word())
}
