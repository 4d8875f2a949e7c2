// SPDX-License-Identifier: Apache-2.0

package content

// Newlines says what becomes of a CR without LF and a LF without CR (G-08).
type Newlines string

// Ways to treat bare CR and bare LF.
const (
	// Reject refuses the message.
	Reject Newlines = "reject"
	// Normalise turns each into CRLF before anything else looks at the content.
	Normalise Newlines = "normalise"
)

// LongLines says what becomes of a line over 998 bytes (S-66).
type LongLines string

// Ways to treat long lines.
const (
	// Refuse refuses the message.
	Refuse LongLines = "refuse"
	// Fold folds header lines at white space; a long body line is refused all the same.
	Fold LongLines = "fold"
)

// Rules are the limits a content is held against.
type Rules struct {
	// MaxSize is the most bytes of submitted content, counted with CRLF line endings.
	MaxSize int64
	// MaxHeaderBytes is the most bytes of the header block with its empty line.
	MaxHeaderBytes int
	// MaxFields is the most header fields.
	MaxFields int
	// MaxLine is the most bytes of a line without its CRLF (RFC 5322, section 2.1.1: 998).
	MaxLine int
	// Newlines is the treatment of bare CR and bare LF.
	Newlines Newlines
	// LongLines is the treatment of long lines.
	LongLines LongLines
	// Relayed takes a message as a relay hands it on: without From, with several Date or Message-ID, and with lines of
	// any length, which stay as they are (G-07; RFC 5321, section 6.4).
	Relayed bool
}

// DefaultRules returns the limits of behaviour.md: 50 MiB, 1 MiB of header, 2,000 fields, 998 bytes a line, and no
// leniency.
func DefaultRules() Rules {
	return Rules{
		MaxSize:        50 << 20,
		MaxHeaderBytes: 1 << 20,
		MaxFields:      2000,
		MaxLine:        998,
		Newlines:       Reject,
		LongLines:      Refuse,
	}
}
