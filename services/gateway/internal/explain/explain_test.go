// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

var at = time.Date(2026, 11, 2, 9, 30, 0, 0, time.UTC)

func decision(rule eventv1.LoopRule, value, limit uint32, result eventv1.LoopResult) *eventv1.LoopDecision {
	return &eventv1.LoopDecision{Rule: rule, Value: value, Limit: limit, Result: result}
}

func code(class, subject, detail uint32) *eventv1.EnhancedCode {
	return &eventv1.EnhancedCode{Class: class, Subject: subject, Detail: detail}
}

// line is what an explanation comes to on one line.
func line(e *gatewayv1.Explanation) string {
	return strings.Join([]string{e.GetRule(), e.GetDecision(), e.GetSubject(), e.GetText()}, " | ")
}

func lines(list []*gatewayv1.Explanation) []string {
	var all []string
	for _, e := range list {
		all = append(all, line(e))
	}
	return all
}

func same(t *testing.T, got []*gatewayv1.Explanation, want ...string) {
	t.Helper()
	if strings.Join(lines(got), "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines(got), "\n"), strings.Join(want, "\n"))
	}
}

func TestL09_LoopRulesWithValuesAndLimits(t *testing.T) {
	const no, refused = eventv1.LoopResult_LOOP_RESULT_NO_LOOP, eventv1.LoopResult_LOOP_RESULT_REFUSED
	loop := &eventv1.LoopTrace{ForeignTraces: 2, Decisions: []*eventv1.LoopDecision{
		decision(eventv1.LoopRule_LOOP_RULE_RECEIVED, 3, 100, no),
		decision(eventv1.LoopRule_LOOP_RULE_HOP_NUMBER, 1, 100, no),
		decision(eventv1.LoopRule_LOOP_RULE_OWN_TRACE, 1, 1, no),
		decision(eventv1.LoopRule_LOOP_RULE_RESPONSES, 6, 5, refused),
		decision(99, 1, 2, no),
	}}
	got := Refused(&eventv1.LoopRefusal{Time: timestamppb.New(at), Loop: loop})
	same(t, got,
		"L-01 | no_loop | message | It came with 3 Received fields; up to 100 are no loop.",
		"L-03 | no_loop | message | It leaves with hop number 1 of our own trace; up to 100 is no loop.",
		"L-04 | no_loop | message | It came back to us 1 times for the same recipient; 1 is legal, as a forwarding may send mail back.",
		"L-07 | refused | message | It is a response, the 6th equal one within an hour; up to 5 are no loop: refused.",
		"rule 99 | no_loop | message | Value 1, limit 2.",
		"L-03 | ignored | message | It carries Postrider-Trace fields that are not sealed with our key; they were ignored.",
		"G-15 | refused | message | The message goes in circles and was not taken: it is in no queue, and nobody was notified by us. "+
			"Whoever handed it in was told so (554 5.4.6).",
	)
	for i, want := range []struct{ name, value, limit string }{{"received", "3", "100"}, {"hop_number", "1", "100"}, {"own_trace_returns", "1", "1"}, {"equal_responses", "6", "5"}} {
		if e := got[i]; e.GetValues()[want.name] != want.value || e.GetLimit() != want.limit || !e.GetTime().AsTime().Equal(at) {
			t.Errorf("%v, want %v", e, want)
		}
	}
	same(t, Message(&gatewayv1.Message{}, &eventv1.LoopTrace{Decisions: []*eventv1.LoopDecision{
		decision(eventv1.LoopRule_LOOP_RULE_RESPONSES, 0, 0, eventv1.LoopResult_LOOP_RESULT_EXEMPT),
		decision(eventv1.LoopRule_LOOP_RULE_RESPONSES, 2, 5, eventv1.LoopResult_LOOP_RESULT_UNSHARED),
		decision(eventv1.LoopRule_LOOP_RULE_ORDINARY, 111, 49, eventv1.LoopResult_LOOP_RESULT_REPORTED),
	}}),
		"L-07 | exempt | message | It is a notification of our own: the hop number it inherits, and that a null sender is never notified, stop its loops.",
		"L-07 | unshared | message | It is a response, the 2nd equal one within an hour; up to 5 are no loop. The other gateways' count could not be had.",
		"L-07 | reported | message | It is ordinary mail, the 111th equal one within an hour; up to 49 are nothing to tell of: told in the log, and delivered all the same.",
	)
	if got := Message(&gatewayv1.Message{}, nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestEveryHostAndWhyItWasLeft(t *testing.T) {
	took := durationpb.New(time.Second)
	m := &gatewayv1.Message{AcceptedAt: timestamppb.New(at), Recipients: []*gatewayv1.RecipientStatus{
		{
			Address: "a@example.com", State: eventv1.RecipientState_RECIPIENT_STATE_BOUNCED, Status: "5.1.1",
			Reply: &eventv1.Reply{Code: 550, Enhanced: code(5, 1, 1), Lines: []string{"no such user"}},
			Attempts: []*eventv1.Attempt{
				{Number: 1, StartedAt: timestamppb.New(at), Duration: took, Failure: &eventv1.Failure{
					Stage: eventv1.Stage_STAGE_RESOLVE, Reason: "dns_temp", Detail: "no server answered", Status: code(4, 4, 3),
				}},
				{Number: 2, StartedAt: timestamppb.New(at), Duration: took, Hosts: []*eventv1.HostTry{
					{Host: "mx1", Address: "192.0.2.1:25", Preference: 10, StartedAt: timestamppb.New(at), Duration: took, LeftFor: "next_address", Failure: &eventv1.Failure{Stage: eventv1.Stage_STAGE_GREETING, Reason: "no_greeting", Detail: "it stayed silent"}},
					{Host: "mx1", Address: "192.0.2.2:25", Preference: 10, LeftFor: "next_host", Failure: &eventv1.Failure{Stage: eventv1.Stage_STAGE_MAIL, Reply: &eventv1.Reply{Code: 451}}},
					{Host: "mx2", Address: "192.0.2.3:25", Preference: 20, LeftFor: "bounce", Tls: &eventv1.TLSResult{Version: "TLS 1.3", Policy: "dane"}, Failure: &eventv1.Failure{Stage: eventv1.Stage_STAGE_RCPT, Reply: &eventv1.Reply{Code: 550, Enhanced: code(5, 1, 1), Lines: []string{"no such user"}}, Status: code(5, 1, 1)}},
				}},
			},
		},
		{
			Address: "b@example.com", State: eventv1.RecipientState_RECIPIENT_STATE_DELIVERED, PossibleDuplicate: true,
			Attempts: []*eventv1.Attempt{{Number: 1, Hosts: []*eventv1.HostTry{{Address: "192.0.2.9:25"}}}},
		},
		{
			Address: "c@example.com", State: eventv1.RecipientState_RECIPIENT_STATE_DEFERRED, Status: "4.3.0", Reason: "internal", Detail: "odd",
			NextAttemptAt: timestamppb.New(at),
			Attempts:      []*eventv1.Attempt{{Number: 1, Failure: &eventv1.Failure{Stage: eventv1.Stage_STAGE_LOCAL, Reason: "size", Detail: "too large"}}},
		},
	}}
	got := Message(m, nil)
	same(t, got,
		"R-07 | no_route | a@example.com | Attempt 1 found no host to go to: at resolve, dns_temp, no server answered.",
		"R-02 | route | a@example.com | Attempt 2 went to mx1 (10), mx2 (20), by preference.",
		"S-12 | next_address | a@example.com | mx1 was left: at greeting, no_greeting, it stayed silent. Its next address came next.",
		"S-50 | next_host | a@example.com | mx1 was left: at mail it said 451. The next host came next.",
		"S-52 | bounce | a@example.com | mx2 was left: at rcpt it said 550 5.1.1 no such user. That is final.",
		"Q-02 | bounced | a@example.com | The recipient is bounced (5.1.1); the remote host said: 550 5.1.1 no such user.",
		"R-02 | route | b@example.com | Attempt 1 went to 192.0.2.9:25 (0), by preference.",
		"S-61 | delivered | b@example.com | 192.0.2.9:25 took the mail.",
		"Q-02 | delivered | b@example.com | The recipient is delivered; it may get the message twice.",
		"S-45 | not_tried | c@example.com | Attempt 1 went to no host: at local, size, too large.",
		"Q-02 | deferred | c@example.com | The recipient is deferred (4.3.0 internal): odd; the next attempt is not before 2026-11-02T09:30:00Z.",
	)
	left := got[4].GetValues()
	for key, want := range map[string]string{
		"attempt": "2", "host": "mx2", "address": "192.0.2.3:25", "preference": "20", "stage": "rcpt", "status": "5.1.1",
		"reply": "550 5.1.1 no such user", "tls": "TLS 1.3", "tls_policy": "dane",
	} {
		if left[key] != want {
			t.Errorf("%s = %q, want %q", key, left[key], want)
		}
	}
	if !got[2].GetTime().AsTime().Equal(at.Add(time.Second)) {
		t.Errorf("left at %v", got[2].GetTime().AsTime())
	}
}

// TestEveryReasonHasItsRule: a reason that a recipient can be left for is never shown without a rule.
func TestEveryReasonHasItsRule(t *testing.T) {
	for _, r := range []smtpreply.Reason{
		smtpreply.ReasonNullMX, smtpreply.ReasonNoSuchDomain, smtpreply.ReasonDNSTemp, smtpreply.ReasonNoAddress, smtpreply.ReasonMXNoAddress,
		smtpreply.ReasonMXInvalid, smtpreply.ReasonSpecialAddress, smtpreply.ReasonCNAMELoop, smtpreply.ReasonMXSelf, smtpreply.ReasonDNSTCPBlocked,
		smtpreply.ReasonDNSTCPUnavailable, smtpreply.ReasonDNSBogus, smtpreply.ReasonTLSALookup, smtpreply.ReasonMTASTSMismatch,
		smtpreply.ReasonBadDomain, smtpreply.ReasonBadLiteral, smtpreply.ReasonResolverUnavailable, smtpreply.ReasonConnect,
		smtpreply.ReasonNoLocalRoute, smtpreply.ReasonNoGreeting, smtpreply.ReasonGreetingRefused, smtpreply.ReasonConnectionLost,
		smtpreply.ReasonProtocol, smtpreply.ReasonSelfSession, smtpreply.ReasonAmbiguous, smtpreply.ReasonSiteDown, smtpreply.ReasonConnectionLimit,
		smtpreply.ReasonTooManyRecipients, smtpreply.ReasonSize, smtpreply.ReasonMailboxSize, smtpreply.ReasonEightBit, smtpreply.ReasonSMTPUTF8,
		smtpreply.ReasonLongLine, smtpreply.ReasonBinary, smtpreply.ReasonTLSInjection, smtpreply.ReasonTLSNotOffered, smtpreply.ReasonTLSFailed,
		smtpreply.ReasonRequireTLSPolicy, smtpreply.ReasonRequireTLSKeyword, smtpreply.ReasonAuth, smtpreply.ReasonAuthMechanism,
		smtpreply.ReasonExpired, smtpreply.ReasonCancelled, smtpreply.ReasonHeld, smtpreply.ReasonUndecodable, smtpreply.ReasonBodyMissing,
	} {
		if ruleOf(&eventv1.Failure{Reason: string(r)}) == "" {
			t.Errorf("%s has no rule", r)
		}
	}
	for s := eventv1.Stage_STAGE_GREETING; s <= eventv1.Stage_STAGE_DOT; s++ {
		for _, reply := range []uint32{421, 450, 550} {
			if ruleOf(&eventv1.Failure{Stage: s, Reply: &eventv1.Reply{Code: reply}}) == "" {
				t.Errorf("a %d at %v has no rule", reply, s)
			}
		}
		if s != eventv1.Stage_STAGE_AUTH && ruleOf(&eventv1.Failure{Stage: s, Reason: "timeout"}) == "" {
			t.Errorf("a timeout at %v has no rule", s)
		}
	}
}
