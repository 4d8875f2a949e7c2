// SPDX-License-Identifier: Apache-2.0

package enqueue

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/gateway/internal/content"
	"github.com/postrider/postrider/services/gateway/internal/envelope"
)

const (
	// maxRecipients is the most recipients of one record (RFC 5321, section 4.5.3.1.8).
	maxRecipients = 100
	// maxInline is the most bytes of content that lie behind a record.
	maxInline = 64 << 10
	// maxShared is the most bytes all copies of a message's content may take behind its records.
	maxShared = 1 << 20
)

// Message is a message that passed every check.
type Message struct {
	// ID is its ULID.
	ID string
	// AcceptedAt is the gateway's time.
	AcceptedAt time.Time
	// Caller is the name of the token it came with.
	Caller string
	// Envelope is the checked envelope.
	Envelope *envelope.Envelope
	// Facts are those of the content.
	Facts content.Facts
	// MessageIDHeader is the Message-ID field's value.
	MessageIDHeader string
	// HeaderNotASCII and TLSOptional are facts of the header block.
	HeaderNotASCII, TLSOptional bool
	// Loop is the hop number it leaves with and what the loop rules decided (L-03, L-09).
	Loop *eventv1.LoopTrace
	// Held says that a loop rule has it held: it is set aside until an operator releases it (L-07).
	Held bool
	// KeyHash and Digest serve the idempotency key (G-12); KeyHash is nil without one.
	KeyHash, Digest []byte
	// Inline is the content when it lies behind the records; BodyRef its place in the body store otherwise.
	Inline  []byte
	BodyRef string
}

// Parts returns the number of records a checked envelope needs.
func Parts(e *envelope.Envelope) int { return len(split(e.Recipients)) }

// InlineLimit returns the most bytes of content that may lie behind each of so many records.
func InlineLimit(parts int) int { return min(maxInline, maxShared/max(1, parts)) }

// Stored is about how many bytes the message takes in the queue and the body store.
func (m *Message) Stored() int64 {
	const recordBytes = 512 // about what a record takes without its content
	parts := int64(Parts(m.Envelope))
	if m.BodyRef != "" {
		return int64(m.Facts.Size) + parts*recordBytes
	}
	return parts * (int64(m.Facts.Size) + recordBytes)
}

// part is one record's share of the recipients.
type part struct {
	destination string
	recipients  []envelope.Recipient
}

// split deals the recipients out to records: one destination each, at most 100 recipients, in the order of the request.
func split(recipients []envelope.Recipient) []part {
	if len(recipients) == 1 {
		return []part{{recipients[0].Destination, recipients}}
	}
	var parts []part
	open := make(map[string]int) // destination to its record that is not full
	for _, r := range recipients {
		at, ok := open[r.Destination]
		if !ok || len(parts[at].recipients) == maxRecipients {
			at = len(parts)
			open[r.Destination] = at
			parts = append(parts, part{destination: r.Destination})
		}
		parts[at].recipients = append(parts[at].recipients, r)
	}
	return parts
}

// records returns the message's records as frames.
func (m *Message) records(trace *eventv1.TraceContext) ([]bus.Frame, error) {
	parts := split(m.Envelope.Recipients)
	frames := make([]bus.Frame, len(parts))
	for i, p := range parts {
		record := m.record(trace, p)
		record.Part, record.Parts = uint32(i+1), uint32(len(parts))
		var frame bus.Frame
		var err error
		if m.BodyRef == "" {
			frame, err = bus.FrameMail(record, m.Inline)
		} else {
			frame, err = bus.FrameMail(record)
		}
		if err != nil {
			return nil, err
		}
		frames[i] = frame
	}
	return frames, nil
}

// record returns one record without its numbers.
func (m *Message) record(trace *eventv1.TraceContext, p part) *eventv1.QueuedMail {
	e := m.Envelope
	record := &eventv1.QueuedMail{
		MessageId: m.ID, Tenant: e.Tenant, Priority: e.Priority, Trace: trace,
		Envelope: m.envelope(p),
		Content: &eventv1.Content{
			Size: m.Facts.Size, BodyRef: m.BodyRef, Sha256: m.Facts.SHA256[:], HeaderSize: m.Facts.HeaderSize,
			PrependedSize: m.Facts.PrependedSize, DotLines: m.Facts.DotLines, MessageIdHeader: m.MessageIDHeader,
		},
		AcceptedAt: timestamppb.New(m.AcceptedAt), Destination: p.destination, IdempotencyHash: m.KeyHash,
		SubmitDigest: m.Digest, Tag: e.Tag, ReportsOn: e.ReportsOn, Caller: m.Caller,
		Loop: m.Loop,
	}
	if m.Held {
		record.MovedFor = "hold"
	}
	if !e.NotBefore.IsZero() {
		record.NotBefore = timestamppb.New(e.NotBefore)
	}
	return record
}

// envelope returns a record's envelope. Whether SMTPUTF8 is needed depends on its own recipients (RFC 6531, section
// 3.4).
func (m *Message) envelope(p part) *eventv1.Envelope {
	e := m.Envelope
	out := &eventv1.Envelope{
		Sender: e.Sender.String(), Ret: e.Ret, Envid: e.EnvID, RequireTls: e.RequireTLS,
		Recipients: make([]*eventv1.Recipient, len(p.recipients)),
		Smtputf8:   m.HeaderNotASCII || !e.Sender.IsASCII(),
		EightBit:   m.Facts.EightBit, TlsOptional: m.TLSOptional,
	}
	for i, r := range p.recipients {
		out.Recipients[i] = &eventv1.Recipient{
			Address: r.Address.String(), Notify: r.Notify, OrcptType: r.OrcptType, OrcptAddress: r.OrcptAddress, Index: r.Index,
		}
		out.Smtputf8 = out.Smtputf8 || !r.Address.IsASCII()
	}
	return out
}
