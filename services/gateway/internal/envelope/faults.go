// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
)

// Reasons of an envelope at fault, in the ErrorInfo of the answer.
const (
	// reasonEnvelope is an envelope without, or with a bad value in, a field of ours.
	reasonEnvelope = "INVALID_ENVELOPE"
	// reasonSender is an envelope sender that is no mailbox.
	reasonSender = "INVALID_SENDER"
	// reasonRecipient is a recipient that is no mailbox.
	reasonRecipient = "INVALID_RECIPIENT"
	// reasonRecipients is no recipient, or too many (G-04).
	reasonRecipients = "RECIPIENT_COUNT"
	// reasonDSN is a DSN parameter RFC 3461 forbids (G-17).
	reasonDSN = "INVALID_DSN_PARAMETER"
)

// checker collects the faults of one envelope; the first one gives the answer its reason and enhanced code.
type checker struct {
	now      time.Time
	reason   string
	enhanced smtpreply.EnhancedCode
	fields   []rpc.Field
}

func (c *checker) add(field, reason string, enhanced smtpreply.EnhancedCode, format string, args ...any) {
	if len(c.fields) == 0 {
		c.reason, c.enhanced = reason, enhanced
	}
	c.fields = append(c.fields, rpc.Field{Field: field, Description: fmt.Sprintf(format, args...)})
}

// err returns the answer, nil when there is no fault.
func (c *checker) err() error {
	if len(c.fields) == 0 {
		return nil
	}
	return &rpc.Error{
		Code: codes.InvalidArgument, Reason: c.reason, Enhanced: c.enhanced,
		Message: "the envelope is not valid", Fields: c.fields,
	}
}

// syntaxError is the code for a bad value of a field that is no address: 5.5.4 (RFC 3463, section 3.6).
func syntaxError() smtpreply.EnhancedCode { return smtpreply.Code(5, 5, 4) }
