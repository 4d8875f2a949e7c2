// SPDX-License-Identifier: Apache-2.0

package content

import (
	"fmt"
	"strconv"

	"github.com/postrider/postrider/kit/smtpreply"
)

// Reasons a content is refused for. They stand in the ErrorInfo of the answer.
const (
	// ReasonTooLarge is a content over Rules.MaxSize (RFC 1870).
	ReasonTooLarge = "MESSAGE_TOO_LARGE"
	// ReasonHeaderTooLarge is a header block over Rules.MaxHeaderBytes or Rules.MaxFields.
	ReasonHeaderTooLarge = "HEADER_TOO_LARGE"
	// ReasonHeaderMalformed is a header line without a colon, or with a field name RFC 5322, section 3.6.8, forbids.
	ReasonHeaderMalformed = "HEADER_MALFORMED"
	// ReasonHeaderCharset is a header block with bytes over 127 that are not UTF-8 (RFC 6532, section 3.2).
	ReasonHeaderCharset = "HEADER_NOT_UTF8"
	// ReasonFromMissing is a header block without a From field, or with an empty one (RFC 5322, section 3.6.2).
	ReasonFromMissing = "FROM_MISSING"
	// ReasonFieldRepeated is a field that may stand once and stands twice (RFC 5322, section 3.6).
	ReasonFieldRepeated = "FIELD_REPEATED"
	// ReasonLineTooLong is a line over Rules.MaxLine (RFC 5322, section 2.1.1).
	ReasonLineTooLong = "LINE_TOO_LONG"
	// ReasonBareNewline is a CR without LF or a LF without CR (RFC 5321, section 2.3.8).
	ReasonBareNewline = "BARE_NEWLINE"
	// ReasonNUL is a NUL byte (RFC 5321, section 4.5.2).
	ReasonNUL = "NUL_BYTE"
)

// Fault says why a content is refused. It quotes nothing of the content but field names.
type Fault struct {
	// Reason is one of the constants of this package.
	Reason string
	// Enhanced is the status the submitter gets (RFC 3463).
	Enhanced smtpreply.EnhancedCode
	// Line is the line at fault, from 1, our own fields not counted. 0 when there is none.
	Line int
	// Detail is a plain sentence.
	Detail string
}

// Error returns the sentence with the line it concerns.
func (f *Fault) Error() string {
	if f.Line > 0 {
		return f.Detail + " (line " + strconv.Itoa(f.Line) + ")"
	}
	return f.Detail
}

// malformed is a fault of the message's form: 5.6.0.
func malformed(reason string, line int, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Enhanced: smtpreply.Code(5, 6, 0), Line: line, Detail: fmt.Sprintf(format, args...)}
}

// tooLarge is a message over the limit: 5.3.4 (RFC 3463, section 3.4).
func tooLarge(limit int64) *Fault {
	return &Fault{
		Reason:   ReasonTooLarge,
		Enhanced: smtpreply.Code(5, 3, 4),
		Detail:   fmt.Sprintf("the message is larger than the limit of %d bytes", limit),
	}
}
