// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"strings"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// message is what all records of a message say alike.
type message struct {
	id         string
	acceptedAt time.Time
	sender     string
	tenant     string
	tag        string
	caller     string // "" when only outcomes are left of it
	parts      uint32
	recipients int // of MAIL, so far as its records were folded; 0 when only outcomes are left of it
	keyHash    []byte
	digest     []byte
	bodyRef    string
	// facts has the fields that are only shown: trace id, size, priority, Message-ID, reports_on.
	facts *gatewayv1.Message
	loop  *eventv1.LoopTrace
}

// fromRecord reads a message from one of its records.
func fromRecord(r *eventv1.QueuedMail) *message {
	return &message{
		id: r.GetMessageId(), acceptedAt: r.GetAcceptedAt().AsTime(), sender: r.GetEnvelope().GetSender(),
		tenant: r.GetTenant(), tag: r.GetTag(), caller: r.GetCaller(), parts: r.GetParts(),
		keyHash: r.GetIdempotencyHash(), digest: r.GetSubmitDigest(), bodyRef: r.GetContent().GetBodyRef(),
		facts: facts(r.GetTrace(), r.GetContent(), r.GetPriority(), r.GetReportsOn()), loop: r.GetLoop(),
	}
}

// fromOutcome reads a message from one of its outcomes.
func fromOutcome(o *eventv1.Outcome) *message {
	return &message{
		id: o.GetMessageId(), acceptedAt: o.GetAcceptedAt().AsTime(), sender: o.GetEnvelopeSender(),
		tenant: o.GetTenant(), tag: o.GetTag(), parts: o.GetParts(),
		keyHash: o.GetIdempotencyHash(), digest: o.GetSubmitDigest(), bodyRef: o.GetContent().GetBodyRef(),
		facts: facts(o.GetTrace(), o.GetContent(), o.GetPriority(), o.GetReportsOn()), loop: o.GetLoop(),
	}
}

func facts(tc *eventv1.TraceContext, c *eventv1.Content, p eventv1.Priority, reportsOn string) *gatewayv1.Message {
	return &gatewayv1.Message{
		TraceId: traceID(tc.GetTraceparent()), Size: c.GetSize(), Priority: p,
		MessageIdHeader: c.GetMessageIdHeader(), ReportsOn: reportsOn,
	}
}

// traceID returns the trace id of a W3C traceparent, "" when there is none.
func traceID(traceparent string) string {
	fields := strings.Split(traceparent, "-")
	if len(fields) < 4 || len(fields[1]) != 32 {
		return ""
	}
	return fields[1]
}
