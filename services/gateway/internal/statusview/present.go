// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// present shows a message with its recipients in the order of the submission.
func (v *View) present(m *message, parts []*part) *gatewayv1.Message {
	shown := m.facts
	shown.MessageId, shown.Sender, shown.Tenant, shown.Tag = m.id, m.sender, m.tenant, m.tag
	shown.AcceptedAt = timestamppb.New(m.acceptedAt)
	type placed struct {
		index  uint32
		status *gatewayv1.RecipientStatus
	}
	var list []placed
	for _, p := range parts {
		standing := v.standing(m, p)
		for _, r := range p.results {
			status := p.recipient(r)
			stand(status, standing)
			list = append(list, placed{r.GetRecipient().GetIndex(), status})
		}
	}
	slices.SortStableFunc(list, func(a, b placed) int { return int(a.index) - int(b.index) })
	for _, r := range list {
		shown.Recipients = append(shown.Recipients, r.status)
	}
	shown.State = summary(m, parts)
	return shown
}

// summary sums up the recipients.
func summary(m *message, parts []*part) gatewayv1.MessageState {
	done, touched := uint32(0), false
	for _, p := range parts {
		if !p.doneAt.IsZero() {
			done++
		}
		touched = touched || p.hop > 0 || p.history != nil
		for _, r := range p.results {
			touched = touched || r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_QUEUED
		}
	}
	switch {
	case done >= max(1, m.parts):
		return gatewayv1.MessageState_MESSAGE_STATE_DONE
	case touched:
		return gatewayv1.MessageState_MESSAGE_STATE_ACTIVE
	}
	return gatewayv1.MessageState_MESSAGE_STATE_ACCEPTED
}

// recipient shows one recipient with the attempts it took part in.
func (p *part) recipient(r result) *gatewayv1.RecipientStatus {
	shown := &gatewayv1.RecipientStatus{
		Address: r.GetRecipient().GetAddress(), State: r.GetState(),
		Status: smtpreply.EnhancedFromProto(r.GetStatus()).String(), Reason: reasonOf(r.GetFailure()),
		Reply: r.GetReply(), PossibleDuplicate: r.GetPossibleDuplicate(), Detail: r.GetFailure().GetDetail(),
	}
	if shown.Reply == nil {
		shown.Reply = r.GetFailure().GetReply()
	}
	if !final(r.GetState()) && !p.next.IsZero() {
		shown.NextAttemptAt = timestamppb.New(p.next)
	}
	for _, a := range p.history.GetFirst() {
		shown.Attempts = appendFor(shown.Attempts, a, r)
	}
	for _, a := range p.history.GetLast() {
		shown.Attempts = appendFor(shown.Attempts, a, r)
	}
	return shown
}
