// SPDX-License-Identifier: Apache-2.0

// Package timeline turns a message as the gateway knows it into a tree for people and into the JSON that scripts
// read. It asks nobody; it only words what it is given.
package timeline

import (
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/cmd/postrider/internal/tree"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const clock = "15:04:05.000"

// Tree draws the message: one branch a recipient, one an attempt, one a host tried.
func Tree(m *gatewayv1.Message) *tree.Node {
	root := &tree.Node{Text: headline(m)}
	for _, r := range m.GetRecipients() {
		branch := root.Add("%s  %s", r.GetAddress(), recipientLine(r))
		for _, a := range r.GetAttempts() {
			addAttempt(branch, a)
		}
	}
	return root
}

func headline(m *gatewayv1.Message) string {
	parts := []string{"message " + m.GetMessageId(), MessageState(m.GetState())}
	if m.GetAcceptedAt() != nil {
		parts = append(parts, "accepted "+m.GetAcceptedAt().AsTime().Local().Format(clock))
	}
	if m.GetSize() > 0 {
		parts = append(parts, fmt.Sprintf("%d bytes", m.GetSize()))
	}
	if m.GetReportsOn() != "" {
		parts = append(parts, "reports on "+m.GetReportsOn())
	}
	if m.GetTraceId() != "" {
		parts = append(parts, "trace "+m.GetTraceId())
	}
	return strings.Join(parts, "  ")
}

func recipientLine(r *gatewayv1.RecipientStatus) string {
	parts := []string{State(r.GetState())}
	for _, p := range []string{r.GetStatus(), r.GetReason(), ReplyLine(r.GetReply())} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	if r.GetReply() == nil && r.GetDetail() != "" {
		parts = append(parts, r.GetDetail())
	}
	if r.GetNextAttemptAt() != nil {
		parts = append(parts, "next attempt "+r.GetNextAttemptAt().AsTime().Local().Format("2006-01-02 15:04:05"))
	}
	if r.GetPossibleDuplicate() {
		parts = append(parts, "(may have been delivered before)")
	}
	return strings.Join(parts, "  ")
}

func addAttempt(branch *tree.Node, a *eventv1.Attempt) {
	text := fmt.Sprintf("attempt %d  %s  took %s", a.GetNumber(), a.GetStartedAt().AsTime().Local().Format(clock), took(a.GetDuration().AsDuration()))
	if f := a.GetFailure(); f != nil {
		text += "  " + FailureLine(f)
	}
	node := branch.Add("%s", text)
	for _, h := range a.GetHosts() {
		node.Add("%s", hostLine(h))
	}
}

func hostLine(h *eventv1.HostTry) string {
	name := h.GetHost()
	if name == "" {
		name = "(address literal)"
	}
	parts := []string{fmt.Sprintf("%s [%s] preference %d", name, h.GetAddress(), h.GetPreference())}
	if v := h.GetTls().GetVersion(); v != "" {
		verified := "not verified"
		if h.GetTls().GetVerified() {
			verified = "verified"
		}
		parts = append(parts, v+" "+verified)
	}
	if f := h.GetFailure(); f != nil {
		parts = append(parts, fmt.Sprintf("left at %s after %s: %s", Stage(h.GetStage()), took(h.GetDuration().AsDuration()), FailureLine(f)))
	} else {
		parts = append(parts, fmt.Sprintf("took the mail in %s", took(h.GetDuration().AsDuration())))
	}
	if h.GetLeftFor() != "" && h.GetFailure() != nil {
		parts = append(parts, "→ "+strings.ReplaceAll(h.GetLeftFor(), "_", " "))
	}
	return strings.Join(parts, "  ")
}

// FailureLine is a failure in one line: status, reason, and what the remote or we said.
func FailureLine(f *eventv1.Failure) string {
	var parts []string
	if c := f.GetStatus(); c != nil {
		parts = append(parts, Enhanced(c))
	}
	if f.GetReason() != "" {
		parts = append(parts, f.GetReason())
	}
	if line := ReplyLine(f.GetReply()); line != "" {
		parts = append(parts, line)
	} else if f.GetDetail() != "" {
		parts = append(parts, f.GetDetail())
	}
	return strings.Join(parts, " ")
}

// ReplyLine is a remote's reply in one line, empty when there is none.
func ReplyLine(r *eventv1.Reply) string {
	if r.GetCode() == 0 {
		return ""
	}
	parts := []string{fmt.Sprint(r.GetCode())}
	if r.GetEnhanced() != nil {
		parts = append(parts, Enhanced(r.GetEnhanced()))
	}
	return strings.TrimSpace(strings.Join(append(parts, r.GetLines()...), " "))
}

// Enhanced is an enhanced status code as it is written (RFC 3463, section 2). Empty when there is none.
func Enhanced(c *eventv1.EnhancedCode) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", c.GetClass(), c.GetSubject(), c.GetDetail())
}

// State is a recipient's state as a word of Q-02.
func State(s eventv1.RecipientState) string {
	return word(s.String(), "RECIPIENT_STATE_")
}

// MessageState is a message's state as a word.
func MessageState(s gatewayv1.MessageState) string {
	return word(s.String(), "MESSAGE_STATE_")
}

// Stage is a stage as a word.
func Stage(s eventv1.Stage) string {
	return word(s.String(), "STAGE_")
}

func word(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

func took(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	default:
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
}
