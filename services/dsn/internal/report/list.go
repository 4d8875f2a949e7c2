// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/services/dsn/internal/text"
)

// List is one message in place of many notifications (rule D-17).
type List struct {
	// To is who is told.
	To string
	// ID makes the Message-ID. It is one for all times.
	ID string
	// Begin and End are the window in which the notifications were due.
	Begin, End time.Time
	// Lines are what is told, those of this message alone.
	Lines []text.Line
	// Part is the number of this message, from 1, among Parts ones, that have Total lines together.
	Part, Parts, Total int
	// Postmaster says that it tells the postmaster of failed mail with the null sender (rule D-03).
	Postmaster bool
	// RequireTLS says that an original was a REQUIRETLS message (RFC 8689, section 5; D-16).
	RequireTLS bool
}

// ComposeList makes the message. It is plain text: a report in the form of RFC 3464 tells of one message only. The only
// errors are *InputError.
func (c Composer) ComposeList(l List) (Message, error) {
	to, err := mailaddr.Parse(l.To)
	if err != nil {
		return Message{}, &InputError{Field: "to", Problem: err.Error()}
	}
	if !validID(l.ID) || len(l.Lines) == 0 {
		return Message{}, &InputError{Field: "lines", Problem: "are missing or have no id"}
	}
	if ascii, ok := to.ToASCII(); ok {
		to = ascii
	}
	p := textPart(text.ComposeList(text.List{
		ReportingMTA: c.ReportingMTA, Begin: l.Begin, End: l.End, Lines: l.Lines,
		Part: l.Part, Parts: l.Parts, Total: l.Total, Postmaster: l.Postmaster,
	}))
	var b bytes.Buffer
	c.origin(&b, to, l.subject(), l.End, "dsn.list."+l.ID)
	b.WriteString("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n")
	fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n", p.contentType, p.encoding)
	b.Write(p.body)
	return Message{Recipient: l.To, Content: b.Bytes(), RequireTLS: l.RequireTLS}, nil
}

func (l List) subject() string {
	subject := "Notices about your messages, joined in one list"
	if l.Postmaster {
		subject = "Failed messages without a return address"
	}
	if l.Parts > 1 {
		subject += " (" + strconv.Itoa(l.Part) + " of " + strconv.Itoa(l.Parts) + ")"
	}
	return subject
}
