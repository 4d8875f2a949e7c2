// SPDX-License-Identifier: Apache-2.0

package text

import (
	"strconv"
	"strings"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
)

// Bounds of what is quoted of a remote host; the part for machines has up to 1,000 octets of it.
const (
	maxAnswerLines = 10
	maxAnswerRunes = 500
)

// cause is the explanation of one failure.
type cause struct {
	happened string
	advice   string
}

func (c cause) known() bool { return c.happened != "" }

// situation is what a cause is found from.
type situation struct {
	failure *smtpreply.Error
	reply   smtpreply.Reply
	status  smtpreply.EnhancedCode
	domain  string
}

// Reply returns the reply a result is reported with: the one that settled it, else that of its failure. The zero value
// means that no remote replied (rule D-10).
func Reply(result *eventv1.RecipientResult) smtpreply.Reply {
	if r := smtpreply.ReplyFromProto(result.GetReply()); r.Code != 0 {
		return r
	}
	return smtpreply.ReplyFromProto(result.GetFailure().GetReply())
}

// explainResult explains what happened to one recipient.
func explainResult(in Input, result *eventv1.RecipientResult) block {
	reply := Reply(result)
	b := block{answer: answer(reply)}
	if len(b.answer) > 0 {
		b.host = host(result)
	}
	if in.Kind == policy.Relayed || in.Kind == policy.Delivered {
		return b
	}
	s := situationOf(result)
	c := s.cause(result)
	b.happened, b.advice = c.happened, c.advice
	b.detail = clip(smtpreply.Clean(s.failure.Detail), maxAnswerRunes)
	if result.GetState() == eventv1.RecipientState_RECIPIENT_STATE_EXPIRED {
		b.happened += " " + gaveUp(in.Outcome)
	}
	if mayHaveArrived(result) && s.failure.Reason != smtpreply.ReasonAmbiguous {
		b.happened += " In an earlier attempt the message was handed over without a confirmation, so it may have been " +
			"delivered all the same."
	}
	if in.Kind == policy.Delayed {
		b.advice = ""
	}
	return b
}

// situationOf is what is known of a result.
func situationOf(result *eventv1.RecipientResult) situation {
	s := situation{
		failure: smtpreply.FromProto(result.GetFailure()),
		reply:   Reply(result),
		domain:  domainOf(result.GetRecipient().GetAddress()),
	}
	if s.failure == nil {
		s.failure = &smtpreply.Error{}
	}
	s.status = s.statusOf(result)
	return s
}

// cause looks at the reason first, then at what the remote said, then at how far the attempt came.
func (s situation) cause(result *eventv1.RecipientResult) cause {
	if result.GetState() == eventv1.RecipientState_RECIPIENT_STATE_CANCELLED {
		return s.queueCause(smtpreply.ReasonCancelled)
	}
	for _, find := range []func() cause{
		func() cause { return s.routeCause(s.failure.Reason) },
		func() cause { return s.tlsCause(s.failure.Reason) },
		func() cause { return s.sessionCause(s.failure.Reason) },
		func() cause { return s.contentCause(s.failure.Reason) },
		func() cause { return s.queueCause(s.failure.Reason) },
		s.statusCause,
		s.replyCause,
		s.stageCause,
	} {
		if c := find(); c.known() {
			return c
		}
	}
	return cause{
		happened: "The message could not be handed over to the mail system of " + s.domain + ".",
		advice:   "Try again later, or reach the recipient by other means.",
	}
}

// statusOf is the status that explains: that of the failure, which for expired mail is the last real one and not 4.4.7
// (rule Q-03).
func (s situation) statusOf(result *eventv1.RecipientResult) smtpreply.EnhancedCode {
	if c := smtpreply.EnhancedFromProto(result.GetFailure().GetStatus()); !c.IsZero() {
		return c
	}
	if c := s.reply.StatusAt(s.failure.Stage); !c.IsZero() {
		return c
	}
	if result.GetState() == eventv1.RecipientState_RECIPIENT_STATE_EXPIRED {
		return smtpreply.EnhancedCode{}
	}
	return smtpreply.EnhancedFromProto(result.GetStatus())
}

// gaveUp says that the time is over. It stands behind the cause and never in its place (rule Q-03).
func gaveUp(o *eventv1.Outcome) string {
	var b strings.Builder
	switch n := o.GetAttempt().GetNumber(); n {
	case 0:
		b.WriteString("The message has waited")
	case 1:
		b.WriteString("Delivery was tried once")
	case 2:
		b.WriteString("Delivery was tried twice")
	default:
		b.WriteString("Delivery was tried " + strconv.FormatUint(uint64(n), 10) + " times")
	}
	if at := o.GetAcceptedAt(); at.IsValid() && at.GetSeconds() != 0 {
		b.WriteString(" since " + moment(at.AsTime()))
	}
	b.WriteString(", and the time allowed for it is over.")
	return b.String()
}

// mayHaveArrived reports that the recipient may have the message although it counts as failed (S-47, Q-08).
func mayHaveArrived(result *eventv1.RecipientResult) bool {
	return result.GetPossibleDuplicate() || result.GetRecipient().GetAmbiguousInRow() > 0 ||
		smtpreply.Reason(result.GetFailure().GetReason()) == smtpreply.ReasonAmbiguous
}

// answer is the remote's reply as it is quoted.
func answer(reply smtpreply.Reply) []string {
	if reply.Code == 0 {
		return nil
	}
	head := strconv.Itoa(reply.Code)
	if !reply.Enhanced.IsZero() {
		head += " " + reply.Enhanced.String()
	}
	lines := []string{head}
	left := maxAnswerRunes
	for i, line := range reply.Lines {
		if i == maxAnswerLines || left <= 0 {
			return append(lines, "...")
		}
		line = clip(smtpreply.Clean(line), left)
		left -= len([]rune(line))
		if i == 0 {
			lines[0] = strings.TrimRight(head+" "+line, " ")
		} else if strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// host names who answered.
func host(result *eventv1.RecipientResult) string {
	if name := clip(smtpreply.Clean(result.GetRemoteMta()), 255); name != "" {
		return name
	}
	return "the other mail system"
}

// domainOf is the part of an address behind its last "@".
func domainOf(address string) string {
	if at := strings.LastIndexByte(address, '@'); at >= 0 && at+1 < len(address) {
		return clip(smtpreply.Clean(address[at+1:]), 255)
	}
	return "the recipient"
}

// because makes a cause from two sentences in which {domain} stands for the recipient's domain.
func (s situation) because(happened, advice string) cause {
	fill := strings.NewReplacer("{domain}", s.domain)
	return cause{happened: fill.Replace(happened), advice: fill.Replace(advice)}
}
