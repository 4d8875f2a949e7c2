// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"

	"go.opentelemetry.io/otel/attribute"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/smtpreply"
)

// rcpt says RCPT for the k-th recipient of the transaction and awaits its reply.
func (t *transaction) rcpt(ctx context.Context, k int) *smtpreply.Error {
	c := t.c
	if !c.box.expect(1) {
		return c.outOfStep(smtpreply.StageRcpt)
	}
	t.writeRcpt(k)
	if k == 0 {
		t.rcptSpan = c.begin(ctx, "smtp.rcpt")
	}
	c.flush(c.o.Timeouts.Rcpt.Std())
	return t.readRcpt(ctx, k)
}

// writeRcpt writes RCPT, with NOTIFY and ORCPT where the host offers DSN (RFC 3461, section 4).
func (t *transaction) writeRcpt(k int) {
	t.c.scratch = t.appendRcpt(t.c.scratch[:0], k)
	t.c.writeScratch()
}

func (t *transaction) appendRcpt(b []byte, k int) []byte {
	r := &t.m.Recipients[t.rcpts[k]]
	b = append(b, "RCPT TO:<"...)
	b = append(b, t.path(r.Address)...)
	b = append(b, '>')
	if t.c.ext.DSN && !t.bare {
		if r.Notify != "" {
			b = append(append(b, " NOTIFY="...), r.Notify...)
		}
		if r.ORcpt != "" && r.ORcptType != "" {
			b = append(append(append(b, " ORCPT="...), r.ORcptType...), ';')
			b = append(b, mailaddr.EncodeXText(r.ORcpt)...)
		}
	}
	return append(b, '\r', '\n')
}

// readRcpt judges the reply to the k-th RCPT (S-51 to S-54). The failure returned is one of the session.
func (t *transaction) readRcpt(ctx context.Context, k int) *smtpreply.Error {
	c := t.c
	reply, fail := t.reply(ctx, smtpreply.StageRcpt, c.o.Timeouts.Rcpt.Std())
	switch {
	case fail != nil:
	case reply.code < 300:
		t.taken++
	default:
		fail = c.refused(smtpreply.StageRcpt, reply)
	}
	c.observed(smtpreply.StageRcpt, reply, fail)
	switch {
	case fail == nil:
	case c.state == stateBroken:
		return fail
	default:
		t.refuse(t.rcpts[k], fail)
	}
	if k == len(t.rcpts)-1 {
		t.rcptSpan.end(0, nil, attribute.Int("mail.recipients", len(t.rcpts)), attribute.Int("mail.recipients.accepted", t.taken))
	}
	return nil
}

// refuse notes the refusal of one recipient. One that only says that there are too many is for a further transaction,
// if this one has a recipient at all, and is temporary whatever its code (RFC 5321, section 4.5.3.1.10).
func (t *transaction) refuse(recipient int, fail *smtpreply.Error) {
	if tooManyRecipients(fail) {
		fail.Reason, fail.Status = smtpreply.ReasonTooManyRecipients, smtpreply.Code(4, 5, 3)
		if t.taken > 0 {
			t.again = append(t.again, recipient)
		}
	}
	t.result.Recipients[recipient] = RecipientResult{Reply: fail.Reply(), Failure: fail}
}

// tooManyRecipients reports 452 and 552 that mean the number of recipients: by their enhanced code, or by having none
// (S-54).
func tooManyRecipients(fail *smtpreply.Error) bool {
	switch fail.Code {
	case 452:
		return fail.Enhanced.IsZero() || fail.Enhanced == smtpreply.Code(4, 5, 3)
	case 552:
		return fail.Enhanced.IsZero() || fail.Enhanced == smtpreply.Code(5, 5, 3)
	}
	return false
}
