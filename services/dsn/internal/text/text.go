// SPDX-License-Identifier: Apache-2.0

package text

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
)

// Returned is what a notification carries of the original message.
type Returned int

// What is returned (rule D-08).
const (
	ReturnedNothing Returned = iota
	ReturnedHeaders
	// ReturnedSomeHeaders is the beginning of a header block that is too long.
	ReturnedSomeHeaders
	ReturnedMessage
)

// Input is what the text is made of.
type Input struct {
	// Outcome is what the attempt came to.
	Outcome *eventv1.Outcome
	// Kind is the kind of the notification.
	Kind policy.Kind
	// Recipients holds positions in the outcome's results.
	Recipients []int
	// ReportingMTA is our host name.
	ReportingMTA string
	// Subject is the original's Subject, decoded. Empty when there is none.
	Subject string
	// Date is the original's Date as it stands. Empty when there is none.
	Date string
	// Returned is what the notification carries of the original.
	Returned Returned
}

// Compose returns the text, UTF-8 with CRLF line endings. It is a pure function of its input: the same outcome gives
// the same bytes after every restart. It gives no line longer than 998 octets (RFC 5322, section 2.1.1).
func Compose(in Input) string {
	w := &writer{}
	w.paragraph("", fmt.Sprintf(automatic, in.ReportingMTA))
	w.paragraph("", opening(in))
	if known := in.original(); len(known) > 0 {
		for _, line := range known {
			w.line("    ", line)
		}
		w.blank()
	}
	for _, g := range groups(in) {
		for _, address := range g.addresses {
			w.line("", address)
		}
		w.blank()
		g.block.write(w)
	}
	w.wrapped("", closing(in))
	return w.String()
}

// automatic says who writes.
const automatic = "This is an automatic message of the mail system at %s. Nobody reads answers to it."

// opening is the one sentence that must be understood if nothing else is read.
func opening(in Input) string {
	whom := "the recipient below"
	if n := len(in.Recipients); n != 1 {
		whom = fmt.Sprintf("the %d recipients below", n)
	}
	switch in.Kind {
	case policy.Delayed:
		until := ""
		if expires := in.Outcome.GetExpiresAt(); expires.IsValid() && !expires.AsTime().IsZero() {
			until = " until " + moment(expires.AsTime())
		}
		return "Your message has not been delivered to " + whom + " yet. This is only a warning, and you need not do " +
			"anything: delivery is tried again and again" + until + ". If it fails for good, you will be told. " +
			"Please do not send the message a second time."
	case policy.Relayed:
		return "Your message was handed over to the next mail system on the way to " + whom + ". That mail system sends " +
			"no notices of delivery, so no further notice can be promised: not when the message reaches the mailbox, " +
			"and perhaps not when it fails to."
	case policy.Delivered:
		return "Your message was delivered to " + whom + "."
	default:
		if in.uncertain() {
			return "It is not certain that your message reached " + whom + ", and no further attempt will be made."
		}
		return "Your message could not be delivered to " + whom + ", and no further attempt will be made."
	}
}

// uncertain reports that each recipient may have the message although it counts as failed.
func (in Input) uncertain() bool {
	results := in.Outcome.GetResults()
	return !slices.ContainsFunc(in.Recipients, func(i int) bool {
		return i < 0 || i >= len(results) || !mayHaveArrived(results[i])
	})
}

// original names the message, so that its sender knows which one is meant.
func (in Input) original() []string {
	var lines []string
	add := func(label, value string) {
		if value = clip(smtpreply.Clean(value), 200); value != "" {
			lines = append(lines, label+value)
		}
	}
	add("Subject:   ", in.Subject)
	add("Sent:      ", in.Date)
	add("Reference: ", in.Outcome.GetMessageId())
	return lines
}

func closing(in Input) string {
	attached := "A technical report is attached."
	switch in.Returned {
	case ReturnedHeaders:
		attached = "A technical report and the header lines of your message (sender, recipients, subject and the like) are attached."
	case ReturnedSomeHeaders:
		attached = "A technical report and the first header lines of your message are attached."
	case ReturnedMessage:
		attached = "A technical report and your message are attached."
	}
	return attached + " If you need help, send all of this to your mail administrator."
}

// moment is a point in time for a person.
func moment(t time.Time) string { return t.UTC().Format("Monday, 2 January 2006, 15:04 UTC") }

// group is recipients to whom the same happened.
type group struct {
	addresses []string
	block     block
}

// groups joins recipients whose explanation is the same, in the order in which they come first.
func groups(in Input) []group {
	var all []group
	index := map[string]int{}
	for _, i := range in.Recipients {
		results := in.Outcome.GetResults()
		if i < 0 || i >= len(results) {
			continue
		}
		b := explainResult(in, results[i])
		key := b.key()
		at, known := index[key]
		if !known {
			at = len(all)
			index[key] = at
			all = append(all, group{block: b})
		}
		address := clip(smtpreply.Clean(results[i].GetRecipient().GetAddress()), 320)
		all[at].addresses = append(all[at].addresses, address)
	}
	return all
}

// block explains one result.
type block struct {
	happened string
	detail   string
	host     string
	answer   []string
	advice   string
}

func (b block) key() string {
	return strings.Join(append([]string{b.happened, b.detail, b.host, b.advice}, b.answer...), "\x00")
}

func (b block) write(w *writer) {
	const indent = "    "
	if b.happened != "" {
		w.paragraph(indent, "What happened: "+b.happened)
	}
	if b.detail != "" {
		w.paragraph(indent, "In detail: "+b.detail)
	}
	if len(b.answer) > 0 {
		w.line(indent, "The answer of "+b.host+" was:")
		for _, line := range b.answer {
			w.wrapped(indent+indent, line)
		}
		w.blank()
	}
	if b.advice != "" {
		w.paragraph(indent, "What you can do: "+b.advice)
	}
}
