// SPDX-License-Identifier: Apache-2.0

package text

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
)

// List is one message in place of many notifications (rule D-17).
type List struct {
	// ReportingMTA is our host name.
	ReportingMTA string
	// Begin and End are the window in which the notifications were due.
	Begin, End time.Time
	// Lines are what is told.
	Lines []Line
	// Part is the number of this message, from 1, among Parts ones, that have Total lines together.
	Part, Parts, Total int
	// Postmaster says that it tells the postmaster of failed mail with the null sender (rule D-03).
	Postmaster bool
}

// Line is one recipient of one message.
type Line struct {
	Kind policy.Kind
	// Happened is what Happened said of it; may be empty.
	Happened string
	// Reference is the id of the message, Status an enhanced status code.
	Reference, Status, Address string
}

// Happened says in plain words what happened to a recipient, the same for all to whom the same happened; empty for
// success. It holds no text of a remote host.
func Happened(kind policy.Kind, result *eventv1.RecipientResult) string {
	if kind == policy.Relayed || kind == policy.Delivered {
		return ""
	}
	said := situationOf(result).cause(result).happened
	if result.GetState() == eventv1.RecipientState_RECIPIENT_STATE_EXPIRED {
		said += " Delivery was tried until the time allowed for it was over."
	}
	return clip(said, maxAnswerRunes)
}

// ComposeList returns the text, UTF-8 with CRLF line endings, no line longer than 998 octets (RFC 5322, section 2.1.1).
// It is a pure function of its input.
func ComposeList(l List) string {
	w := &writer{}
	w.paragraph("", fmt.Sprintf(automatic, l.ReportingMTA))
	w.paragraph("", l.opening())
	if l.Parts > 1 {
		w.paragraph("", fmt.Sprintf("They are too many for one message: this is number %d of %d.", l.Part, l.Parts))
	}
	w.paragraph("", "Each line below has the reference of the message, a status code, and the recipient.")
	lines := slices.Clone(l.Lines)
	slices.SortStableFunc(lines, func(a, b Line) int {
		return cmp.Or(a.Kind.Compare(b.Kind), cmp.Compare(a.Happened, b.Happened))
	})
	for i, line := range lines {
		if i == 0 || lines[i-1].Kind != line.Kind {
			w.paragraph("", heading(line.Kind, count(lines, line.Kind)))
		}
		if (i == 0 || lines[i-1].Kind != line.Kind || lines[i-1].Happened != line.Happened) && line.Happened != "" {
			w.paragraph("    ", line.Happened)
		}
		w.line("        ", smtpreply.Clean(line.Reference+"  "+line.Status+"  "+clip(line.Address, 320)))
		if i+1 == len(lines) || lines[i+1].Kind != line.Kind || lines[i+1].Happened != line.Happened {
			w.blank()
		}
	}
	w.wrapped("", l.closing())
	return w.String()
}

func (l List) opening() string {
	const day = "Monday, 2 January 2006, "
	begin, end, clock := l.Begin.UTC(), l.End.UTC(), "15:04"
	if end.Sub(begin)%time.Minute != 0 {
		clock = "15:04:05"
	}
	until := end.Format(clock)
	if begin.YearDay() != end.YearDay() {
		until = end.Format(day + clock)
	}
	window := fmt.Sprintf("between %s and %s UTC", begin.Format(day+clock), until)
	if l.Postmaster {
		return "Messages without a return address, such as notices of other mail systems and automatic answers, could not be " +
			"delivered to " + people(l.Total) + " " + window + ". Nobody else is told of it, because a notice about such a " +
			"message could go in a circle."
	}
	return "So many notices about your messages were due " + window + " that no more were sent one by one. What they would " +
		"have told, about " + people(l.Total) + ", stands here."
}

func (l List) closing() string {
	if l.Postmaster {
		return "The log of this mail system has more about each of them under its reference."
	}
	return "If you did not send these messages, somebody else may be using your address, or two programs may be answering each " +
		"other. Send this message to your mail administrator then, or if you need other help."
}

func heading(kind policy.Kind, n int) string {
	switch kind {
	case policy.Delayed:
		return "Not delivered yet to " + people(n) + ". Delivery is tried again and again, and you need not do anything:"
	case policy.Relayed, policy.Delivered:
		return "Handed over for " + people(n) + " to a mail system that sends no notices of delivery, so that no further notice " +
			"can be promised:"
	default:
		return "Not delivered to " + people(n) + ", and no further attempt will be made:"
	}
}

func count(lines []Line, kind policy.Kind) (n int) {
	for _, line := range lines {
		if line.Kind == kind {
			n++
		}
	}
	return n
}

func people(n int) string {
	if n == 1 {
		return "1 recipient"
	}
	return strconv.Itoa(n) + " recipients"
}
