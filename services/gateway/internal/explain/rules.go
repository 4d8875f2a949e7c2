// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// ruleOf returns the id of the rule in behaviour.md behind a failure: that of its reason, else that of the step at which
// the reply came. "" when there is none.
func ruleOf(f *eventv1.Failure) string {
	reason := smtpreply.Reason(f.GetReason())
	if rule := routeRule(reason); rule != "" {
		return rule
	}
	if rule := hostRule(reason); rule != "" {
		return rule
	}
	if f.GetReply().GetCode() > 0 {
		return replyRule(f)
	}
	return timeoutRule(f.GetStage())
}

func routeRule(r smtpreply.Reason) string {
	switch r {
	case smtpreply.ReasonNullMX:
		return "R-04"
	case smtpreply.ReasonNoSuchDomain:
		return "R-06"
	case smtpreply.ReasonDNSTemp, smtpreply.ReasonResolverUnavailable:
		return "R-07"
	case smtpreply.ReasonNoAddress:
		return "R-08"
	case smtpreply.ReasonMXNoAddress:
		return "R-11"
	case smtpreply.ReasonCNAMELoop:
		return "R-13"
	case smtpreply.ReasonMXInvalid:
		return "R-15"
	case smtpreply.ReasonSpecialAddress:
		return "R-16"
	case smtpreply.ReasonMXSelf:
		return "R-18"
	case smtpreply.ReasonDNSTCPBlocked:
		return "R-31"
	case smtpreply.ReasonDNSTCPUnavailable:
		return "R-33"
	case smtpreply.ReasonDNSBogus:
		return "R-40"
	case smtpreply.ReasonTLSALookup:
		return "R-42"
	case smtpreply.ReasonMTASTSMismatch:
		return "R-48"
	case smtpreply.ReasonBadDomain:
		return "R-50"
	case smtpreply.ReasonBadLiteral:
		return "R-51"
	}
	return ""
}

func hostRule(r smtpreply.Reason) string {
	switch r {
	case smtpreply.ReasonConnect:
		return "S-11"
	case smtpreply.ReasonNoLocalRoute:
		return "R-22"
	case smtpreply.ReasonNoGreeting:
		return "S-12"
	case smtpreply.ReasonGreetingRefused:
		return "S-15"
	case smtpreply.ReasonConnectionLost:
		return "S-34"
	case smtpreply.ReasonProtocol:
		return "S-28"
	case smtpreply.ReasonSelfSession:
		return "S-19"
	case smtpreply.ReasonAmbiguous:
		return "S-47"
	case smtpreply.ReasonSiteDown:
		return "Q-15"
	case smtpreply.ReasonConnectionLimit:
		return "S-74"
	case smtpreply.ReasonTooManyRecipients:
		return "S-54"
	case smtpreply.ReasonSize:
		return "S-45"
	case smtpreply.ReasonMailboxSize:
		return "Q-05"
	case smtpreply.ReasonEightBit:
		return "S-67"
	case smtpreply.ReasonSMTPUTF8:
		return "S-68"
	case smtpreply.ReasonLongLine:
		return "S-66"
	case smtpreply.ReasonBinary:
		return "S-69"
	case smtpreply.ReasonTLSInjection:
		return "S-38"
	case smtpreply.ReasonTLSNotOffered, smtpreply.ReasonTLSFailed:
		return "S-39"
	case smtpreply.ReasonRequireTLSPolicy, smtpreply.ReasonRequireTLSKeyword:
		return "S-41"
	case smtpreply.ReasonAuth, smtpreply.ReasonAuthMechanism:
		return "S-44"
	case smtpreply.ReasonExpired:
		return "Q-03"
	case smtpreply.ReasonCancelled, smtpreply.ReasonHeld:
		return "Q-13"
	case smtpreply.ReasonUndecodable, smtpreply.ReasonBodyMissing:
		return "Q-10"
	}
	return ""
}

// replyRule is the rule for a reply of the remote host.
func replyRule(f *eventv1.Failure) string {
	permanent := f.GetReply().GetCode() >= 500
	if f.GetReply().GetCode() == 421 {
		return "S-33"
	}
	switch f.GetStage() {
	case eventv1.Stage_STAGE_GREETING:
		if permanent {
			return "S-15"
		}
		return "S-14"
	case eventv1.Stage_STAGE_EHLO, eventv1.Stage_STAGE_HELO:
		return "S-23"
	case eventv1.Stage_STAGE_STARTTLS, eventv1.Stage_STAGE_TLS:
		return "S-37"
	case eventv1.Stage_STAGE_AUTH:
		return "S-44"
	case eventv1.Stage_STAGE_MAIL:
		return "S-50"
	case eventv1.Stage_STAGE_RCPT:
		if permanent {
			return "S-52"
		}
		return "S-53"
	case eventv1.Stage_STAGE_DATA:
		return "S-56"
	case eventv1.Stage_STAGE_CONTENT:
		return "S-57"
	case eventv1.Stage_STAGE_DOT:
		return "S-62"
	}
	return ""
}

// timeoutRule is the rule for a step that came to no reply.
func timeoutRule(s eventv1.Stage) string {
	switch s {
	case eventv1.Stage_STAGE_CONNECT:
		return "S-01"
	case eventv1.Stage_STAGE_GREETING:
		return "S-02"
	case eventv1.Stage_STAGE_EHLO, eventv1.Stage_STAGE_HELO, eventv1.Stage_STAGE_STARTTLS, eventv1.Stage_STAGE_TLS:
		return "S-03"
	case eventv1.Stage_STAGE_MAIL:
		return "S-04"
	case eventv1.Stage_STAGE_RCPT:
		return "S-05"
	case eventv1.Stage_STAGE_DATA:
		return "S-06"
	case eventv1.Stage_STAGE_CONTENT:
		return "S-07"
	case eventv1.Stage_STAGE_DOT:
		return "S-09"
	}
	return ""
}
