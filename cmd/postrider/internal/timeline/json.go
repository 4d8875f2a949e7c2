// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// Status is what `postrider status --json` prints. Its names are a promise to scripts.
type Status struct {
	MessageID  string      `json:"message_id"`
	TraceID    string      `json:"trace_id"`
	AcceptedAt *time.Time  `json:"accepted_at"`
	State      string      `json:"state"`
	Recipients []Recipient `json:"recipients"`
}

// Recipient is one recipient; State is a word of Q-02.
type Recipient struct {
	Address           string     `json:"address"`
	State             string     `json:"state"`
	Status            string     `json:"status"`
	Reason            string     `json:"reason"`
	Reply             *Reply     `json:"reply"`
	NextAttemptAt     *time.Time `json:"next_attempt_at"`
	PossibleDuplicate bool       `json:"possible_duplicate"`
	Attempts          []Attempt  `json:"attempts"`
}

// Reply is what a remote host said.
type Reply struct {
	Code     uint32 `json:"code"`
	Enhanced string `json:"enhanced"`
	Text     string `json:"text"`
}

// Attempt is one delivery attempt.
type Attempt struct {
	Number     uint32     `json:"number"`
	StartedAt  *time.Time `json:"started_at"`
	DurationMS float64    `json:"duration_ms"`
	Outcome    string     `json:"outcome"`
	Hosts      []Host     `json:"hosts"`
}

// Host is one address tried.
type Host struct {
	Host       string  `json:"host"`
	Address    string  `json:"address"`
	Preference uint32  `json:"preference"`
	Stage      string  `json:"stage"`
	Reply      *Reply  `json:"reply"`
	Reason     string  `json:"reason"`
	TLS        *TLS    `json:"tls"`
	LeftFor    string  `json:"left_for"`
	DurationMS float64 `json:"duration_ms"`
}

// TLS is the transport security of a session.
type TLS struct {
	Version  string `json:"version"`
	Policy   string `json:"policy"`
	Verified bool   `json:"verified"`
}

// StatusOf is the JSON form of a message.
func StatusOf(m *gatewayv1.Message) Status {
	s := Status{
		MessageID: m.GetMessageId(), TraceID: m.GetTraceId(), State: MessageState(m.GetState()),
		Recipients: []Recipient{},
	}
	if at := m.GetAcceptedAt(); at != nil {
		t := at.AsTime()
		s.AcceptedAt = &t
	}
	for _, r := range m.GetRecipients() {
		s.Recipients = append(s.Recipients, recipientOf(r))
	}
	return s
}

func recipientOf(r *gatewayv1.RecipientStatus) Recipient {
	out := Recipient{
		Address: r.GetAddress(), State: State(r.GetState()), Status: r.GetStatus(), Reason: r.GetReason(),
		Reply: replyOf(r.GetReply()), PossibleDuplicate: r.GetPossibleDuplicate(), Attempts: []Attempt{},
	}
	if at := r.GetNextAttemptAt(); at != nil {
		t := at.AsTime()
		out.NextAttemptAt = &t
	}
	for i, a := range r.GetAttempts() {
		state := "deferred"
		if i == len(r.GetAttempts())-1 {
			state = out.State
		}
		out.Attempts = append(out.Attempts, attemptOf(a, state))
	}
	return out
}

func attemptOf(a *eventv1.Attempt, outcome string) Attempt {
	out := Attempt{Number: a.GetNumber(), DurationMS: millis(a.GetDuration().AsDuration()), Outcome: outcome, Hosts: []Host{}}
	if at := a.GetStartedAt(); at != nil {
		t := at.AsTime()
		out.StartedAt = &t
	}
	for _, h := range a.GetHosts() {
		out.Hosts = append(out.Hosts, hostOf(h))
	}
	return out
}

func hostOf(h *eventv1.HostTry) Host {
	out := Host{
		Host: h.GetHost(), Address: h.GetAddress(), Preference: h.GetPreference(), Stage: Stage(h.GetStage()),
		Reply: replyOf(h.GetFailure().GetReply()), Reason: h.GetFailure().GetReason(), LeftFor: h.GetLeftFor(),
		DurationMS: millis(h.GetDuration().AsDuration()),
	}
	if t := h.GetTls(); t.GetVersion() != "" || t.GetPolicy() != "" {
		out.TLS = &TLS{Version: t.GetVersion(), Policy: t.GetPolicy(), Verified: t.GetVerified()}
	}
	return out
}

func replyOf(r *eventv1.Reply) *Reply {
	if r.GetCode() == 0 {
		return nil
	}
	out := &Reply{Code: r.GetCode(), Enhanced: Enhanced(r.GetEnhanced())}
	for i, line := range r.GetLines() {
		if i > 0 {
			out.Text += "\n"
		}
		out.Text += line
	}
	return out
}

func millis(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
