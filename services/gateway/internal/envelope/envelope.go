// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// Limits of an envelope.
const (
	// MaxRecipients is the most recipients of one message, before equal ones are joined (G-04).
	MaxRecipients = 1000
	maxTenant     = 64
	maxTag        = 64
	maxKey        = 256
	maxEnvID      = 100
	maxOrcpt      = 500
	maxNotBefore  = 30 * 24 * time.Hour
)

// Envelope is an envelope without faults.
type Envelope struct {
	// Sender is the reverse-path; its zero value is the null reverse-path.
	Sender mailaddr.Address
	// Recipients are those that are taken, equal ones joined, in the order of the request.
	Recipients []Recipient
	// Refused are those that are not. Only when the request allows a part to be taken (G-05).
	Refused []*gatewayv1.RefusedRecipient
	// Tenant, Key, EnvID, Tag and ReportsOn are empty when not given.
	Tenant, Key, EnvID, Tag, ReportsOn string
	// Priority is never unspecified.
	Priority eventv1.Priority
	// Ret is RET (RFC 3461, section 4.3).
	Ret eventv1.Ret
	// RequireTLS asks for REQUIRETLS (RFC 8689).
	RequireTLS bool
	// NotBefore is the earliest first attempt; zero means at once.
	NotBefore time.Time
	// ReportedHop is the hop number of the message this one reports on (L-03).
	ReportedHop uint32
}

// Recipient is one forward-path that is taken.
type Recipient struct {
	// Address is the address as the submitter wrote it.
	Address mailaddr.Address
	// Destination is where its mail goes: the domain in A-label form, or an address literal.
	Destination string
	// Notify is NOTIFY without repeated values. Empty means not given (D-04).
	Notify []eventv1.Notify
	// OrcptType and OrcptAddress are ORCPT, decoded. Empty means not given.
	OrcptType, OrcptAddress string
	// Index is the position in the request.
	Index uint32
}

// Check returns the checked envelope. now is the time of the submission. The error is an *rpc.Error: INVALID_ARGUMENT
// with every field at fault, or PERMISSION_DENIED when the caller may not send with the null reverse-path (G-03).
func Check(in *gatewayv1.Envelope, caller rpc.Caller, now time.Time) (*Envelope, error) {
	c := checker{now: now}
	if in == nil {
		c.add("envelope", reasonEnvelope, syntaxError(), "must be given")
		return nil, c.err()
	}
	if err := rights(in, caller); err != nil {
		return nil, err
	}
	out := &Envelope{
		Tenant: in.GetTenant(), Key: in.GetIdempotencyKey(), EnvID: in.GetEnvid(), Tag: in.GetTag(),
		ReportsOn: in.GetReportsOn(), ReportedHop: in.GetReportsOnLoop().GetHopNumber(),
		RequireTLS: in.GetRequireTls(), Ret: in.GetRet(),
	}
	out.Sender = c.sender(in.GetSender())
	c.options(in, out)
	c.recipients(in, out)
	if err := c.err(); err != nil {
		return nil, err
	}
	return out, nil
}

// CheckSender checks everything but the recipients, in the same way and with the same errors as Check. It is for the
// SMTP command MAIL, which comes before them.
func CheckSender(in *gatewayv1.Envelope, caller rpc.Caller, now time.Time) error {
	if err := rights(in, caller); err != nil {
		return err
	}
	c, out := checker{now: now}, &Envelope{}
	out.Sender = c.sender(in.GetSender())
	c.options(in, out)
	return c.err()
}

// CheckRecipient checks one recipient alone, as Check does each. It is for the SMTP command RCPT.
func CheckRecipient(in *gatewayv1.Recipient) error {
	_, fault := checkRecipient(in, 0)
	if fault == nil {
		return nil
	}
	return &rpc.Error{
		Code: codes.InvalidArgument, Reason: fault.whole, Enhanced: fault.enhanced, Message: "the recipient is not valid",
		Fields: []rpc.Field{{Field: "envelope.recipients[0]." + fault.field, Description: fault.detail}},
	}
}

// rights refuses what only callers with the right null_sender may ask for.
func rights(in *gatewayv1.Envelope, caller rpc.Caller) error {
	if caller.Has(rpc.RightNullSender) {
		return nil
	}
	field, description := "", ""
	switch {
	case in.GetSender() == "":
		field, description = "envelope.sender", "is the null reverse-path, which needs the right null_sender"
	case in.GetReportsOn() != "" || in.GetReportsOnLoop() != nil:
		field, description = "envelope.reports_on", "needs the right null_sender"
	default:
		return nil
	}
	return &rpc.Error{
		Code: codes.PermissionDenied, Reason: rpc.ReasonRightMissing, Enhanced: smtpreply.Code(5, 7, 1),
		Message: "the caller may not send notifications", Fields: []rpc.Field{{Field: field, Description: description}},
	}
}
