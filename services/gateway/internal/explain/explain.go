// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect"
)

// subjectMessage is the subject of decisions about the message as a whole.
const subjectMessage = "message"

// Message returns the decisions about a message in the queue, in the order in which they were made. loop is nil when it
// is not known.
func Message(m *gatewayv1.Message, loop *eventv1.LoopTrace) []*gatewayv1.Explanation {
	list := loopRules(loop, m.GetAcceptedAt(), false)
	for _, r := range m.GetRecipients() {
		for _, a := range r.GetAttempts() {
			list = append(list, attempt(r, a)...)
		}
		list = append(list, recipient(r))
	}
	return list
}

// Refused returns the decisions about a message that was refused as a loop.
func Refused(r *eventv1.LoopRefusal) []*gatewayv1.Explanation {
	return loopRules(r.GetLoop(), r.GetTime(), true)
}

// loopRules returns what the loop rules decided.
func loopRules(loop *eventv1.LoopTrace, at *timestamppb.Timestamp, refused bool) []*gatewayv1.Explanation {
	list := make([]*gatewayv1.Explanation, 0, len(loop.GetDecisions())+1)
	for _, d := range loop.GetDecisions() {
		name, what := loopdetect.Describe(d.GetRule())
		e := &gatewayv1.Explanation{
			Rule: name, Decision: loopdetect.Word(d.GetResult()), Time: at, Subject: subjectMessage,
			Values: map[string]string{what: strconv.Itoa(int(d.GetValue()))},
			Limit:  strconv.Itoa(int(d.GetLimit())), Text: loopText(d),
		}
		if d.GetResult() == eventv1.LoopResult_LOOP_RESULT_EXEMPT {
			e.Values, e.Limit = nil, ""
		}
		list = append(list, e)
	}
	if n := loop.GetForeignTraces(); n > 0 {
		list = append(list, &gatewayv1.Explanation{
			Rule: "L-03", Decision: "ignored", Time: at, Subject: subjectMessage,
			Values: map[string]string{"foreign_traces": strconv.Itoa(int(n))},
			Text:   "It carries Postrider-Trace fields that are not sealed with our key; they were ignored.",
		})
	}
	if refused {
		list = append(list, &gatewayv1.Explanation{
			Rule: "G-15", Decision: "refused", Time: at, Subject: subjectMessage,
			Text: "The message goes in circles and was not taken: it is in no queue, and nobody was notified by us. " +
				"Whoever handed it in was told so (554 5.4.6).",
		})
	}
	return list
}

// loopText is the sentence about one loop rule.
func loopText(d *eventv1.LoopDecision) string {
	value, limit := d.GetValue(), d.GetLimit()
	var text string
	switch d.GetRule() {
	case eventv1.LoopRule_LOOP_RULE_RECEIVED:
		text = fmt.Sprintf("It came with %d Received fields; up to %d are no loop", value, limit)
	case eventv1.LoopRule_LOOP_RULE_HOP_NUMBER:
		text = fmt.Sprintf("It leaves with hop number %d of our own trace; up to %d is no loop", value, limit)
	case eventv1.LoopRule_LOOP_RULE_OWN_TRACE:
		text = fmt.Sprintf("It came back to us %d times for the same recipient; %d is legal, as a forwarding may send mail back", value, limit)
	case eventv1.LoopRule_LOOP_RULE_RESPONSES:
		if d.GetResult() == eventv1.LoopResult_LOOP_RESULT_EXEMPT {
			return "It is a notification of our own: the hop number it inherits, and that a null sender is never notified, stop its loops."
		}
		text = fmt.Sprintf("It is a response, the %s equal one within an hour; up to %d are no loop", ordinal(value), limit)
	case eventv1.LoopRule_LOOP_RULE_ORDINARY:
		text = fmt.Sprintf("It is ordinary mail, the %s equal one within an hour; up to %d are nothing to tell of", ordinal(value), limit)
	default:
		text = fmt.Sprintf("Value %d, limit %d", value, limit)
	}
	switch d.GetResult() {
	case eventv1.LoopResult_LOOP_RESULT_REFUSED:
		return text + ": refused."
	case eventv1.LoopResult_LOOP_RESULT_REPORTED:
		return text + ": told in the log, and delivered all the same."
	case eventv1.LoopResult_LOOP_RESULT_HELD:
		return text + ": told in the log, and held until an operator releases it."
	case eventv1.LoopResult_LOOP_RESULT_UNSHARED:
		return text + ". The other gateways' count could not be had."
	}
	return text + "."
}

func ordinal(n uint32) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(int(n)) + suffix
}

// attempt returns the decisions of one attempt for one recipient: the route, then each host.
func attempt(r *gatewayv1.RecipientStatus, a *eventv1.Attempt) []*gatewayv1.Explanation {
	number := strconv.Itoa(int(a.GetNumber()))
	var list []*gatewayv1.Explanation
	if f := a.GetFailure(); f != nil && (len(a.GetHosts()) == 0 || f.GetStage() == eventv1.Stage_STAGE_RESOLVE) {
		e := &gatewayv1.Explanation{
			Rule: ruleOf(f), Decision: "no_route", Subject: r.GetAddress(), Time: a.GetStartedAt(), Values: failureValues(f),
			Text: "Attempt " + number + " found no host to go to: " + sentence(f),
		}
		if f.GetStage() != eventv1.Stage_STAGE_RESOLVE {
			e.Decision, e.Text = "not_tried", "Attempt "+number+" went to no host: "+sentence(f)
		}
		e.Values["attempt"] = number
		list = append(list, e)
	} else if len(a.GetHosts()) > 0 {
		names := hostNames(a.GetHosts())
		list = append(list, &gatewayv1.Explanation{
			Rule: "R-02", Decision: "route", Subject: r.GetAddress(), Time: a.GetStartedAt(),
			Values: map[string]string{"attempt": number, "hosts": names},
			Text:   "Attempt " + number + " went to " + names + ", by preference.",
		})
	}
	for _, h := range a.GetHosts() {
		list = append(list, host(r, number, h))
	}
	return list
}

// hostNames lists the hosts of an attempt with their preferences, each once, in the order in which they were tried.
func hostNames(tries []*eventv1.HostTry) string {
	var names []string
	for i, h := range tries {
		name := nameOf(h) + " (" + strconv.Itoa(int(h.GetPreference())) + ")"
		if i == 0 || nameOf(tries[i-1]) != nameOf(h) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

func nameOf(h *eventv1.HostTry) string {
	if h.GetHost() == "" {
		return h.GetAddress()
	}
	return h.GetHost()
}

// host returns the decision about one address of one host.
func host(r *gatewayv1.RecipientStatus, number string, h *eventv1.HostTry) *gatewayv1.Explanation {
	e := &gatewayv1.Explanation{
		Rule: "S-61", Decision: h.GetLeftFor(), Subject: r.GetAddress(), Time: end(h.GetStartedAt(), h.GetDuration().AsDuration()),
		Values: map[string]string{
			"attempt": number, "host": h.GetHost(), "address": h.GetAddress(), "preference": strconv.Itoa(int(h.GetPreference())),
			"took": h.GetDuration().AsDuration().Round(time.Millisecond).String(),
		},
	}
	if t := h.GetTls(); t != nil {
		e.Values["tls"], e.Values["tls_policy"] = or(t.GetVersion(), "none"), t.GetPolicy()
	}
	f := h.GetFailure()
	if f == nil {
		e.Decision = or(e.Decision, "delivered")
		e.Text = nameOf(h) + " took the mail."
		return e
	}
	maps.Copy(e.Values, failureValues(f))
	e.Rule = ruleOf(f)
	e.Text = nameOf(h) + " was left: " + sentence(f) + next(h.GetLeftFor())
	return e
}

// next says what came after a host.
func next(leftFor string) string {
	switch leftFor {
	case "next_address":
		return " Its next address came next."
	case "next_host":
		return " The next host came next."
	case "defer":
		return " The recipient waits for a later attempt."
	case "bounce":
		return " That is final."
	}
	return ""
}

// recipient returns where a recipient stands.
func recipient(r *gatewayv1.RecipientStatus) *gatewayv1.Explanation {
	state := strings.ToLower(strings.TrimPrefix(r.GetState().String(), "RECIPIENT_STATE_"))
	e := &gatewayv1.Explanation{
		Rule: "Q-02", Decision: state, Subject: r.GetAddress(),
		Values: map[string]string{"attempts": strconv.Itoa(attempts(r))}, Text: stateText(r, state),
	}
	for key, value := range map[string]string{"status": r.GetStatus(), "reason": r.GetReason(), "reply": replyLine(r.GetReply())} {
		if value != "" {
			e.Values[key] = value
		}
	}
	if n := len(r.GetAttempts()); n > 0 {
		last := r.GetAttempts()[n-1]
		e.Time = end(last.GetStartedAt(), last.GetDuration().AsDuration())
	}
	if at := r.GetNextAttemptAt(); at != nil {
		e.Values["next_attempt_at"] = at.AsTime().Format(time.RFC3339)
	}
	return e
}

func attempts(r *gatewayv1.RecipientStatus) int {
	if n := len(r.GetAttempts()); n > 0 {
		return int(r.GetAttempts()[n-1].GetNumber())
	}
	return 0
}

func stateText(r *gatewayv1.RecipientStatus, state string) string {
	text := "The recipient is " + state
	if why := strings.Join(nonEmpty(r.GetStatus(), r.GetReason()), " "); why != "" {
		text += " (" + why + ")"
	}
	switch line := replyLine(r.GetReply()); {
	case line != "":
		text += "; the remote host said: " + line
	case r.GetDetail() != "":
		text += ": " + r.GetDetail()
	}
	if at := r.GetNextAttemptAt(); at != nil {
		text += "; the next attempt is not before " + at.AsTime().Format(time.RFC3339)
	}
	if r.GetPossibleDuplicate() {
		text += "; it may get the message twice"
	}
	return text + "."
}

// failureValues are the values of a failure by name.
func failureValues(f *eventv1.Failure) map[string]string {
	values := map[string]string{"stage": stage(f.GetStage())}
	for key, value := range map[string]string{
		"status": smtpreply.EnhancedFromProto(f.GetStatus()).String(), "reason": f.GetReason(), "reply": replyLine(f.GetReply()),
	} {
		if value != "" {
			values[key] = value
		}
	}
	return values
}

// sentence is a failure as a sentence.
func sentence(f *eventv1.Failure) string {
	if line := replyLine(f.GetReply()); line != "" {
		return "at " + stage(f.GetStage()) + " it said " + line + "."
	}
	text := strings.Join(nonEmpty(f.GetReason(), f.GetDetail()), ", ")
	if text == "" {
		text = smtpreply.EnhancedFromProto(f.GetStatus()).String()
	}
	return "at " + stage(f.GetStage()) + ", " + text + "."
}

func stage(s eventv1.Stage) string { return strings.ToLower(strings.TrimPrefix(s.String(), "STAGE_")) }

// replyLine is a reply on one line, "" when there is none.
func replyLine(r *eventv1.Reply) string {
	if r.GetCode() == 0 {
		return ""
	}
	enhanced := ""
	if r.GetEnhanced() != nil {
		enhanced = smtpreply.EnhancedFromProto(r.GetEnhanced()).String()
	}
	return strings.Join(nonEmpty(append([]string{strconv.Itoa(int(r.GetCode())), enhanced}, r.GetLines()...)...), " ")
}

func nonEmpty(texts ...string) []string {
	kept := texts[:0]
	for _, t := range texts {
		if t != "" {
			kept = append(kept, t)
		}
	}
	return kept
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func end(at *timestamppb.Timestamp, took time.Duration) *timestamppb.Timestamp {
	if at == nil {
		return nil
	}
	return timestamppb.New(at.AsTime().Add(took))
}
