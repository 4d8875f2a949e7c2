// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/kit/mailaddr"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
	"github.com/postrider/postrider/services/dsn/internal/text"
)

// Composer makes notifications in the name of one mail system. Its methods may be used by several goroutines.
type Composer struct {
	// ReportingMTA is our fully qualified host name (RFC 3464, section 2.2.2).
	ReportingMTA string
	// From is the local part of the From field, such as MAILER-DAEMON.
	From string
	// MaxReturned is the largest original, in octets as sent, that is returned whole (rule D-08).
	MaxReturned int64
}

// Input is one notification to be made.
type Input struct {
	// Outcome is what the attempt came to.
	Outcome *eventv1.Outcome
	// Kind is the kind of the notification.
	Kind policy.Kind
	// Recipients holds positions in the outcome's results: those the notification names.
	Recipients []int
	// Original is what may be returned of the original: its header block, or its whole content when
	// Outcome.returns_full_content says so. Empty when there is none.
	Original []byte
	// StoredAt is when the outcome was stored. It dates the notification when the outcome says no time itself.
	StoredAt time.Time
}

// Message is a finished notification.
type Message struct {
	// Recipient is the envelope recipient: the envelope sender of the original as it was stored, and never an address
	// taken from its content (D-01). The envelope sender of a notification is always null (D-02).
	Recipient string
	// Content is header and body with CRLF line endings, no line longer than 998 octets.
	Content []byte
	// RequireTLS says that the notification has to travel like its original (RFC 8689, section 5; D-16).
	RequireTLS bool
}

// InputError says that no notification can be made of an outcome. It names no address.
type InputError struct {
	// Field is the field of the outcome at fault.
	Field string
	// Problem says what is wrong with it.
	Problem string
}

// Error returns field and problem.
func (e *InputError) Error() string { return fmt.Sprintf("outcome: %s: %s", e.Field, e.Problem) }

// Compose makes the notification. The only errors are *InputError: the outcome is not one a notification can be made
// of, and trying again cannot help.
func (c Composer) Compose(in Input) (Message, error) {
	to, err := in.check()
	if err != nil {
		return Message{}, err
	}
	global := !to.IsASCII()
	head := readHeader(in.Original)
	third, returned := c.returned(in, global)
	words := text.Compose(text.Input{
		Outcome:      in.Outcome,
		Kind:         in.Kind,
		Recipients:   in.Recipients,
		ReportingMTA: c.ReportingMTA,
		Subject:      head.subject,
		Date:         head.date,
		Returned:     returned,
	})
	parts := []part{
		textPart(words),
		statusPart(c.deliveryStatus(in, global), global),
	}
	if third != nil {
		parts = append(parts, *third)
	}
	return Message{
		Recipient:  in.Outcome.GetEnvelopeSender(),
		Content:    assemble(c.header(in, to, head), parts),
		RequireTLS: in.Outcome.GetRequireTls(),
	}, nil
}

// check refuses outcomes no notification can be made of. The address it returns is the envelope sender, with its domain
// in A-labels when that makes it ASCII, so that the notification needs SMTPUTF8 only where its recipient does.
func (in Input) check() (mailaddr.Address, error) {
	o := in.Outcome
	if o == nil {
		return mailaddr.Address{}, &InputError{Field: "outcome", Problem: "is missing"}
	}
	if !validID(o.GetId()) {
		return mailaddr.Address{}, &InputError{Field: "id", Problem: "is not an outcome id"}
	}
	if in.Kind == policy.None {
		return mailaddr.Address{}, &InputError{Field: "kind", Problem: "is missing"}
	}
	if len(in.Recipients) == 0 {
		return mailaddr.Address{}, &InputError{Field: "recipients", Problem: "are missing"}
	}
	for _, i := range in.Recipients {
		if i < 0 || i >= len(o.GetResults()) {
			return mailaddr.Address{}, &InputError{Field: "recipients", Problem: "name a result that does not exist"}
		}
	}
	to, err := mailaddr.Parse(o.GetEnvelopeSender())
	if err != nil {
		return mailaddr.Address{}, &InputError{Field: "envelope_sender", Problem: err.Error()}
	}
	if ascii, ok := to.ToASCII(); ok {
		to = ascii
	}
	return to, nil
}

// validID reports an outcome id, "<message id>.<part>.<attempt>". It becomes part of a Message-ID and of a key.
func validID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if c < '0' || c > '9' && c < 'A' || c > 'Z' && c < 'a' || c > 'z' {
			if c != '.' && c != '-' && c != '_' || i == 0 || i == len(id)-1 || id[i-1] == '.' {
				return false
			}
		}
	}
	return id != "" && len(id) <= 100
}

// date is when the notification was made: when the attempt was decided. It must not change when the notification is
// made a second time after a crash.
func (in Input) date() time.Time {
	if at := in.Outcome.GetDecidedAt(); at.IsValid() && at.GetSeconds() != 0 {
		return at.AsTime()
	}
	return in.StoredAt.UTC()
}
