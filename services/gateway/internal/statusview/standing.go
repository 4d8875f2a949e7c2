// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"encoding/json"
	"slices"

	"github.com/postrider/postrider/kit/changes"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// Rules are the operators' changes (changes.Mirror).
type Rules interface {
	Standing(changes.Mail) changes.Standing
	List() []changes.Entry
}

func (v *View) changes() []changes.Entry {
	if v.o.Rules == nil {
		return nil
	}
	return v.o.Rules.List()
}

func (v *View) standing(m *message, p *part) changes.Standing {
	if v.o.Rules == nil {
		return changes.Standing{}
	}
	return v.o.Rules.Standing(changes.Mail{MessageID: m.id, Destination: p.destination, AcceptedAt: m.acceptedAt})
}

// stand shows what operators decided: a recipient whose mail they took back is cancelling until an outcome says what
// became of it, and one whose mail is not to be attempted is held, wherever it lies.
func stand(r *gatewayv1.RecipientStatus, s changes.Standing) {
	if final(r.GetState()) {
		return
	}
	var reason smtpreply.Reason
	r.State, reason = shownState(r.GetState(), s)
	if reason == "" {
		return
	}
	r.Reason, r.NextAttemptAt = string(reason), nil
	switch reason {
	case smtpreply.ReasonHeld:
		r.Detail = "set aside by " + s.Held.GetActor() + " until it is released"
	case smtpreply.ReasonSuspended:
		r.Detail = "mail to the destination is suspended by " + s.Suspended.GetActor()
	}
}

// Stand shows in an event what operators decided for its mail by now.
func Stand(recipients []*gatewayv1.RecipientStatus, s changes.Standing) {
	for _, r := range recipients {
		stand(r, s)
	}
}

// shownState returns the state a recipient is shown in that is not final, and why, "" when nothing is decided for it.
func shownState(state eventv1.RecipientState, s changes.Standing) (eventv1.RecipientState, smtpreply.Reason) {
	switch {
	case s.Cancelled != nil:
		return eventv1.RecipientState_RECIPIENT_STATE_CANCELLING, smtpreply.ReasonCancelled
	case s.Held != nil:
		return eventv1.RecipientState_RECIPIENT_STATE_HELD, smtpreply.ReasonHeld
	case s.Suspended != nil:
		return eventv1.RecipientState_RECIPIENT_STATE_HELD, smtpreply.ReasonSuspended
	}
	return state, ""
}

// shownOtherwise returns a further condition on parts that operators' changes may show in one of the states asked for,
// though the file has them in another.
func shownOtherwise(states int64, rules []changes.Entry) (condition string, args []any) {
	var messages, destinations []string
	for _, e := range rules {
		var shown eventv1.RecipientState
		switch e.GetAction() {
		case eventv1.ChangeAction_CHANGE_ACTION_CANCEL:
			shown = eventv1.RecipientState_RECIPIENT_STATE_CANCELLING
		case eventv1.ChangeAction_CHANGE_ACTION_HOLD, eventv1.ChangeAction_CHANGE_ACTION_SUSPEND:
			shown = eventv1.RecipientState_RECIPIENT_STATE_HELD
		}
		if states&(1<<shown) != 0 {
			messages = append(messages, e.GetMessageIds()...)
			destinations = append(destinations, e.GetDestinations()...)
		}
	}
	if slices.Contains(destinations, changes.Everything) {
		return " OR done_at = 0", nil
	}
	if len(messages)+len(destinations) == 0 {
		return "", nil
	}
	list := func(of []string) string {
		text, _ := json.Marshal(append([]string{}, of...)) // strings always can
		return string(text)
	}
	return ` OR done_at = 0 AND (message_id IN (SELECT value FROM json_each(?)) OR
		destination IN (SELECT value FROM json_each(?)))`, []any{list(messages), list(destinations)}
}

// stillFits reports whether a message found by the states its file has is shown in one of them.
func (v *View) stillFits(q *listQuery, m *message, parts []*part) bool {
	if q.states == 0 || v.o.Rules == nil {
		return true
	}
	for _, p := range parts {
		if q.destination != "" && p.destination != q.destination {
			continue
		}
		standing := v.standing(m, p)
		for _, r := range p.results {
			state := r.GetState()
			if !final(state) {
				state, _ = shownState(state, standing)
			}
			if q.states&(1<<state) != 0 {
				return true
			}
		}
	}
	return false
}
