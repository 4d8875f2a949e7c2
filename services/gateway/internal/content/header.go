// SPDX-License-Identifier: Apache-2.0

package content

import (
	"bytes"
	"unicode/utf8"
)

// Header is the header block of a submitted message and what the acceptance needs to know of it.
type Header struct {
	// Block is the header block with its empty line, if there is one, without the fields that are removed (G-18). It is
	// good until the first Next or Read of the Reader.
	Block []byte
	// Fields is the number of fields submitted.
	Fields int
	// Received is the number of Received fields, folded lines counted once (L-01).
	Received int
	// HasDate and HasMessageID tell whether Date and Message-ID must be added (G-07).
	HasDate, HasMessageID bool
	// MessageID is the value of Message-ID with its angle brackets. Empty when there is none or it cannot be read.
	MessageID string
	// NotASCII says that the block holds bytes over 127: UTF-8, so that SMTPUTF8 is needed (RFC 6531).
	NotASCII bool
	// TLSOptional says that "TLS-Required: No" stands in it (RFC 8689, section 4.2.2).
	TLSOptional bool

	fields []field
}

// field is one header field of the submitted block, folded lines included.
type field struct {
	start, colon, end int
	name              []byte
}

// Values returns the unfolded values of all fields of that name that are passed on, the topmost first. Case does not
// count (RFC 5322, section 1.2.2). Like Block it may be used until the first Next or Read of its Reader.
func (h *Header) Values(name string) []string {
	var values []string
	for _, f := range h.fields {
		if equalName(f.name, name) {
			values = append(values, h.value(f))
		}
	}
	return values
}

// Value returns the unfolded value of the first field of that name that is passed on, "" when there is none. Like Values
// it may be used until the first Peek, Next or Read of its Reader.
func (h *Header) Value(name string) string {
	for _, f := range h.fields {
		if equalName(f.name, name) {
			return h.value(f)
		}
	}
	return ""
}

// equalName compares field names without regard to case and without a copy.
func equalName(got []byte, want string) bool {
	return len(got) == len(want) && bytes.EqualFold(got, []byte(want))
}

// parser reads one header block.
type parser struct {
	rules Rules
	block []byte
	head  Header
	from  int
	cuts  []field // fields that are not passed on
	long  bool    // a line is to be folded
}

// parseHeader checks a header block and returns what is known of it (RFC 5322, section 3.6).
func parseHeader(block []byte, rules Rules) (*Header, error) {
	p := &parser{rules: rules, block: block, head: Header{fields: make([]field, 0, 24)}}
	if err := p.split(); err != nil {
		return nil, err
	}
	for i := range p.head.fields {
		if err := p.note(p.head.fields[i]); err != nil {
			return nil, err
		}
	}
	if p.from == 0 && !rules.Relayed {
		return nil, malformed(ReasonFromMissing, 0, "the header has no From field")
	}
	if hasHighBit(block) {
		if !utf8.Valid(block) {
			return nil, malformed(ReasonHeaderCharset, 0, "the header has bytes over 127 that are not UTF-8")
		}
		p.head.NotASCII = true
	}
	return p.finish()
}

// split cuts the block into fields and checks each line's form.
func (p *parser) split() error {
	line := 0
	for at := 0; at < len(p.block); {
		line++
		end := lineEnd(p.block, at)
		text := bytes.TrimSuffix(p.block[at:end], crlf)
		if len(text) == 0 {
			return nil // the empty line
		}
		if len(text) > p.rules.MaxLine && !p.rules.Relayed {
			if p.rules.LongLines != Fold {
				return malformed(ReasonLineTooLong, line, "a header line is longer than %d bytes", p.rules.MaxLine)
			}
			p.long = true
		}
		if err := p.line(text, at, end, line); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// line takes one line of the block as the beginning of a field or as the continuation of the last one.
func (p *parser) line(text []byte, at, end, number int) error {
	if text[0] == ' ' || text[0] == '\t' {
		if len(p.head.fields) == 0 {
			return malformed(ReasonHeaderMalformed, number, "the header begins with a continuation line")
		}
		p.head.fields[len(p.head.fields)-1].end = end
		return nil
	}
	colon := bytes.IndexByte(text, ':')
	if colon < 0 {
		return malformed(ReasonHeaderMalformed, number, "a header line has no colon")
	}
	name := bytes.TrimRight(text[:colon], " \t") // RFC 5322, section 4.5.3: the obsolete form is read, Bcc above all
	if !validName(name) {
		return malformed(ReasonHeaderMalformed, number, "a header line has no field name")
	}
	if len(p.head.fields) == p.rules.MaxFields {
		return malformed(ReasonHeaderTooLarge, number, "the header has more than %d fields", p.rules.MaxFields)
	}
	p.head.fields = append(p.head.fields, field{start: at, colon: at + colon, end: end, name: name})
	return nil
}

// note records what one field means for the acceptance.
func (p *parser) note(f field) error {
	switch {
	case equalName(f.name, "Received"):
		p.head.Received++
	case equalName(f.name, "From"):
		if p.from++; p.from > 1 {
			return repeated("From")
		}
		if len(bytes.TrimSpace(p.block[f.colon+1:f.end])) == 0 && !p.rules.Relayed {
			return malformed(ReasonFromMissing, 0, "the From field is empty")
		}
	case equalName(f.name, "Date"):
		if p.head.HasDate && !p.rules.Relayed {
			return repeated("Date")
		}
		p.head.HasDate = true
	case equalName(f.name, "Message-ID"):
		if p.head.HasMessageID {
			if !p.rules.Relayed {
				return repeated("Message-ID")
			}
			return nil // the first one is the message's
		}
		p.head.HasMessageID = true
		p.head.MessageID = messageID(unfold(p.block[f.colon+1 : f.end]))
	case equalName(f.name, "TLS-Required"):
		p.head.TLSOptional = equalName(bytes.TrimSpace(p.block[f.colon+1:f.end]), "No")
	case equalName(f.name, "Bcc"), equalName(f.name, "Resent-Bcc"), equalName(f.name, "Return-Path"):
		p.cuts = append(p.cuts, f)
	}
	return nil
}

// finish makes the block that is passed on.
func (p *parser) finish() (*Header, error) {
	h := p.head
	h.Fields = len(h.fields)
	h.Block = p.block
	if len(p.cuts) == 0 && !p.long {
		return &h, nil
	}
	kept := make([]byte, 0, len(p.block)+64)
	at := 0
	for _, cut := range p.cuts {
		kept = append(kept, p.block[at:cut.start]...)
		at = cut.end
	}
	kept = append(kept, p.block[at:]...)
	if p.long {
		folded, err := foldLines(kept, p.rules.MaxLine)
		if err != nil {
			return nil, err
		}
		kept = folded
	}
	reparsed := parser{rules: p.rules, block: kept, head: Header{fields: make([]field, 0, len(h.fields))}}
	if err := reparsed.split(); err != nil {
		return nil, err
	}
	h.Block, h.fields = kept, reparsed.head.fields
	return &h, nil
}

func (h *Header) value(f field) string { return unfold(h.Block[f.colon+1 : f.end]) }

// validName reports whether name is a field name: printable US-ASCII without a colon (RFC 5322, section 2.2).
func validName(name []byte) bool {
	for _, b := range name {
		if b < 33 || b > 126 {
			return false
		}
	}
	return len(name) > 0
}

func repeated(name string) *Fault {
	return malformed(ReasonFieldRepeated, 0, "the header has more than one %s field", name)
}
