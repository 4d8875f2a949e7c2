// SPDX-License-Identifier: Apache-2.0

package smtpreply

import (
	"strconv"
	"strings"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Reply is one complete SMTP reply (RFC 5321, section 4.2). The zero value means that no reply arrived.
type Reply struct {
	// Code is the reply code, 200 to 599; 0 when no reply arrived.
	Code int
	// Enhanced is the code the remote gave, of the class of Code (RFC 2034); zero when it gave none.
	Enhanced EnhancedCode
	// Lines is the text without reply code, enhanced code and line ending, cleaned (see Clean).
	Lines []string
}

// NewReply makes a reply from its code and the texts behind it, one for each line. It cleans the texts and takes the
// enhanced code from them when it is well-formed and of the class of the reply; a code of another class stays in the
// text and does not count (RFC 2034, section 4). A code that stands on every line is taken off each. Greetings and
// answers to EHLO carry no enhanced codes; their lines are better put into a Reply as they are.
func NewReply(code int, lines []string) Reply {
	r := Reply{Code: code, Lines: make([]string, len(lines))}
	for i, line := range lines {
		enhanced, rest, ok := ParseEnhanced(line)
		if ok && i == 0 && enhanced.Class == code/100 {
			r.Enhanced = enhanced
		}
		if ok && enhanced == r.Enhanced {
			line = rest
		}
		r.Lines[i] = Clean(line)
	}
	return r
}

// Positive reports a 2yz reply.
func (r Reply) Positive() bool { return r.Code >= 200 && r.Code < 300 }

// Intermediate reports a 3yz reply.
func (r Reply) Intermediate() bool { return r.Code >= 300 && r.Code < 400 }

// Transient reports a 4yz reply.
func (r Reply) Transient() bool { return r.Code >= 400 && r.Code < 500 }

// Permanent reports a 5yz reply.
func (r Reply) Permanent() bool { return r.Code >= 500 && r.Code < 600 }

// StatusAt returns the enhanced status recorded for this reply when it came at stage: the remote's own code, else the
// one RFC 5321 and RFC 3463 suggest for the few codes with a fixed meaning (421 is 4.3.2, 552 is 5.2.2 at RCPT and
// 5.3.4 from DATA on, a greeting that refuses is x.3.2), else x.0.0 by the first digit (RFC 5321, section 4.2.1). It is
// zero when no reply arrived and for 3yz, which is no result.
func (r Reply) StatusAt(stage Stage) EnhancedCode {
	class := r.Code / 100
	if class != 2 && class != 4 && class != 5 {
		return EnhancedCode{}
	}
	if r.Enhanced.Valid() && r.Enhanced.Class == class {
		return r.Enhanced
	}
	switch {
	case r.Code == 421:
		return Code(4, 3, 2)
	case stage == StageGreeting && class != 2:
		return Code(class, 3, 2)
	case r.Code == 552 && stage == StageRcpt:
		return Code(5, 2, 2)
	case r.Code == 552 && (stage == StageData || stage == StageContent || stage == StageDot):
		return Code(5, 3, 4)
	}
	return Code(class, 0, 0)
}

// Text returns the lines joined by single spaces.
func (r Reply) Text() string { return strings.Join(r.Lines, " ") }

// String returns the reply on one line, "550 5.1.1 No such user", and "" when no reply arrived.
func (r Reply) String() string {
	if r.Code == 0 {
		return ""
	}
	parts := []string{strconv.Itoa(r.Code)}
	if !r.Enhanced.IsZero() {
		parts = append(parts, r.Enhanced.String())
	}
	if text := r.Text(); text != "" {
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

// ReplyProto returns r as it stands in event.v1, nil when no reply arrived.
func ReplyProto(r Reply) *eventv1.Reply {
	if r.Code < 200 || r.Code > 599 {
		return nil
	}
	lines := make([]string, len(r.Lines))
	for i, line := range r.Lines {
		lines[i] = Clean(line)
	}
	return &eventv1.Reply{Code: uint32(r.Code), Enhanced: r.Enhanced.Proto(), Lines: lines}
}

// ReplyFromProto returns the reply of an event. Nil and codes outside 200 to 599 give the zero value. The lines are
// cleaned again, since another binary wrote them.
func ReplyFromProto(p *eventv1.Reply) Reply {
	if p.GetCode() < 200 || p.GetCode() > 599 {
		return Reply{}
	}
	r := Reply{Code: int(p.GetCode()), Enhanced: EnhancedFromProto(p.GetEnhanced())}
	if len(p.GetLines()) > 0 {
		r.Lines = make([]string, len(p.GetLines()))
	}
	for i, line := range p.GetLines() {
		r.Lines[i] = Clean(line)
	}
	return r
}
