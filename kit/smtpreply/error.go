// SPDX-License-Identifier: Apache-2.0

package smtpreply

import (
	"strings"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Error is a failed step on the way of a message: a reply that refuses, a reply that did not come, or a route that does
// not exist. It crosses gRPC and the queue as event.v1.Failure, all but Err.
type Error struct {
	// Stage is the step that was waiting for an answer.
	Stage Stage
	// Code is the reply code; 0 when no reply arrived.
	Code int
	// Enhanced is the code the remote gave (RFC 3463); zero when it gave none.
	Enhanced EnhancedCode
	// Text holds the remote's lines, cleaned (see Clean), for Diagnostic-Code (RFC 3464, section 2.3.6).
	Text []string
	// Status is the code to be recorded where it differs from what the reply or the reason gives; usually zero. See
	// RecordedStatus.
	Status EnhancedCode
	// Reason is the machine-readable reason; empty when the reply says all.
	Reason Reason
	// Detail is a plain sentence for a person. It holds no text of a remote host and no address of an inner one.
	Detail string
	// Err is the cause. It stays in this process: it is for logs, not for callers or notifications.
	Err error
}

// FromReply returns the failure that is a reply at a stage.
func FromReply(stage Stage, r Reply) *Error {
	return &Error{Stage: stage, Code: r.Code, Enhanced: r.Enhanced, Text: r.Lines}
}

// Error tells stage, reply or reason, and cause on one line.
func (e *Error) Error() string {
	parts := []string{e.Stage.String()}
	if reply := e.Reply().String(); reply != "" {
		parts = append(parts, reply)
	}
	if e.Reason != "" {
		parts = append(parts, string(e.Reason))
	}
	if e.Detail != "" {
		parts = append(parts, e.Detail)
	}
	if e.Err != nil {
		parts = append(parts, Clean(e.Err.Error()))
	}
	if len(parts) == 1 {
		parts = append(parts, "failed")
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Reply returns the remote's reply, the zero value when none arrived.
func (e *Error) Reply() Reply { return Reply{Code: e.Code, Enhanced: e.Enhanced, Lines: e.Text} }

// Permanent reports whether repeating the same command cannot help: only a 5yz reply says so (RFC 5321,
// section 4.2.1). A missing reply is never permanent; whether a failure without one is final, RecordedStatus says.
func (e *Error) Permanent() bool { return e.Code >= 500 && e.Code < 600 }

// Temporary reports whether the failure is recorded in class 4, so that a later attempt may cure it.
func (e *Error) Temporary() bool { return e.RecordedStatus().Class == 4 }

// Word is the machine-readable reason of a failure, also of one whose reply says all: the reason where there is one, else
// the step with what the reply did there, such as rcpt_refused (5yz) or dot_deferred (4yz).
func (e *Error) Word() Reason {
	switch {
	case e.Reason != "" || e.Code == 0:
		return e.Reason
	case e.Permanent():
		return Reason(e.Stage.String() + "_refused")
	default:
		return Reason(e.Stage.String() + "_deferred")
	}
}

// RecordedStatus returns the enhanced code recorded for the recipient and used in notifications: Status where it is
// set, else that of the reply, else that of the reason, else 4.4.1 for a connect, 4.4.3 for a lookup and 4.4.2 for
// everything later. It is never zero.
func (e *Error) RecordedStatus() EnhancedCode {
	if e.Status.Valid() {
		return e.Status
	}
	// A 2yz or 3yz reply that is a failure came out of place: its own class says nothing about the recipient.
	if e.Code >= 400 {
		if status := e.Reply().StatusAt(e.Stage); !status.IsZero() {
			return status
		}
	}
	if status := e.Reason.Status(); !status.IsZero() {
		return status
	}
	if e.Code != 0 {
		return Code(4, 5, 0)
	}
	switch e.Stage {
	case StageUnspecified, StageLocal:
		return Code(4, 0, 0)
	case StageResolve:
		return Code(4, 4, 3)
	case StageConnect:
		return Code(4, 4, 1)
	default:
		return Code(4, 4, 2)
	}
}

// Proto returns the failure as it stands in event.v1, with the recorded status. The cause does not go along. A nil
// error gives nil.
func (e *Error) Proto() *eventv1.Failure {
	if e == nil {
		return nil
	}
	return &eventv1.Failure{
		Stage:  e.Stage.Proto(),
		Reply:  ReplyProto(e.Reply()),
		Status: e.RecordedStatus().Proto(),
		Reason: Clean(string(e.Reason)),
		Detail: Clean(e.Detail),
	}
}

// FromProto returns the failure of an event, nil for nil. What an older, newer or broken binary wrote outside the
// limits of RFC 5321 and RFC 3463 is dropped.
func FromProto(p *eventv1.Failure) *Error {
	if p == nil {
		return nil
	}
	reply := ReplyFromProto(p.GetReply())
	return &Error{
		Stage:    StageFromProto(p.GetStage()),
		Code:     reply.Code,
		Enhanced: reply.Enhanced,
		Text:     reply.Lines,
		Status:   EnhancedFromProto(p.GetStatus()),
		Reason:   Reason(Clean(p.GetReason())),
		Detail:   Clean(p.GetDetail()),
	}
}
