// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"io"

	"github.com/postrider/postrider/kit/smtpreply"
)

// Message is what [Conn.Send] hands over. It is not changed, but for the position of Body.
type Message struct {
	// From is the reverse-path without angle brackets; empty is the null reverse-path.
	From string
	// Recipients are the forward-paths, at least one.
	Recipients []Recipient
	// Size is the number of octets of Body, as SIZE= tells it (RFC 1870, section 5).
	Size int64
	// Body is the content: lines that end in CRLF, before dot-stuffing. It is read from its start, once for each
	// transaction.
	Body io.ReadSeeker
	// NoDotLines says that no line of Body begins with a dot, so that a file may be sent without being looked at.
	NoDotLines bool
	// HeaderSize is the number of octets of the header block at the start of Body.
	HeaderSize int64
	// EightBit says that Body has octets over 127 (RFC 6152).
	EightBit bool
	// UTF8 says that an address or a header field is not ASCII (RFC 6531).
	UTF8 bool
	// RequireTLS says that the message goes with REQUIRETLS or not at all (RFC 8689).
	RequireTLS bool
	// Ret is the parameter RET, "FULL" or "HDRS" (RFC 3461, section 4.3); empty: not given.
	Ret string
	// EnvID is the parameter ENVID, decoded (RFC 3461, section 4.4); empty: not given.
	EnvID string
	// MayStart is asked before each MAIL; nil means yes. When it says no, the recipients left end in shutdown.
	MayStart func() bool
	// Next is called once, just before the last final dot, on a session with a host that offers PIPELINING. It calls board
	// with the message that goes next over this session, if there is one, so that its envelope rides in the same write
	// (RFC 2920, section 3.1). nil: there is none.
	Next func(board func(*Message))
}

// Recipient is one forward-path with its DSN parameters, which go out only to a host that offers DSN (S-70).
type Recipient struct {
	// Address is the forward-path without angle brackets.
	Address string
	// Notify is the parameter NOTIFY, such as "SUCCESS,FAILURE" (RFC 3461, section 4.1); empty: not given.
	Notify string
	// ORcptType and ORcpt are the parameter ORCPT, decoded (RFC 3461, section 4.2); empty: not given.
	ORcptType, ORcpt string
}

// Result is what Send came to.
type Result struct {
	// Recipients holds a result for each recipient of the message, in the same order.
	Recipients []RecipientResult
	// DSN reports that the DSN parameters were passed on in each transaction.
	DSN bool
	// ContentWritten is the number of octets of content written to the socket, in all transactions.
	ContentWritten int64
	// Untouched reports that the session was closed, or ended with 421, before MAIL was accepted: on a session that was
	// used before it says nothing of the host or the message, and a fresh one may be tried at once (S-72).
	Untouched bool
	// BodyErr is set when the content could not be read, or is not what Size and S-65 promise: no host is at fault. The
	// recipients concerned have a failure with smtpreply.StageLocal.
	BodyErr error
}

// RecipientResult is what a host did with one recipient.
type RecipientResult struct {
	// Reply is the reply that settled it; without code when none did. For a recipient that was taken it is the 2yz reply
	// to the final dot.
	Reply smtpreply.Reply
	// Failure is nil exactly when the host took the message for this recipient: a complete 2yz reply to our final dot.
	Failure *smtpreply.Error
}
