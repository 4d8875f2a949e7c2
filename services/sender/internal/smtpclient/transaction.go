// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"

	"github.com/postrider/postrider/kit/smtpreply"
)

// transaction is one MAIL to its final dot (RFC 5321, section 3.3).
type transaction struct {
	*delivery
	rcpts []int // recipients named in this transaction, as indices of the message
	again []int // of these, those to be named in a further one (S-54)
	taken int   // of these, those whose RCPT was accepted
	last  bool  // no other transaction of the message follows, unless again says so
	retry bool  // MAIL was refused because of its optional parameters (S-50)
	rides *ride // the envelope is on its way already; nil: it is not

	mailSpan, rcptSpan, dataSpan step
}

// run makes the transaction. The failure returned is that of the transaction as a whole; nil when the dot was answered
// 2yz, or when every recipient was refused for itself.
func (t *transaction) run(ctx context.Context) *smtpreply.Error {
	var fail *smtpreply.Error
	if t.rides == nil {
		fail = t.start(ctx)
	}
	if fail == nil {
		t.c.state, t.c.dirty = stateBusy, true
		fail = t.envelope(ctx)
	}
	t.result.Untouched = t.untouched(fail)
	if fail == nil && t.taken > 0 {
		fail = t.content(ctx)
	}
	t.endSpans(fail)
	if t.c.state == stateBusy {
		t.c.state = stateReady
		if t.c.ride != nil {
			t.c.state = stateRiding
		}
	}
	if fail != nil {
		t.fill(fail)
	}
	return fail
}

// start asks for leave and clears away what an unfinished transaction left at the host (S-71).
func (t *transaction) start(ctx context.Context) *smtpreply.Error {
	if t.m.MayStart != nil && !t.m.MayStart() {
		return &smtpreply.Error{
			Stage: smtpreply.StageMail, Reason: smtpreply.ReasonShutdown, Detail: "no further transaction may be started",
		}
	}
	if !t.c.dirty {
		return nil
	}
	return t.c.rset(ctx)
}

// envelope goes through MAIL, RCPT and DATA: in one write when the host offers PIPELINING (RFC 2920, section 3.1), else
// one by one. Without failure and with a recipient taken, the host awaits the content.
func (t *transaction) envelope(ctx context.Context) *smtpreply.Error {
	switch {
	case t.rides != nil:
		t.c.tell(t.rides)
		t.beginSpans(ctx)
		return t.readGroup(ctx)
	case t.c.ext.Pipelining:
		return t.group(ctx)
	}
	if fail := t.mail(ctx); fail != nil {
		return fail
	}
	for i := range t.rcpts {
		if fail := t.rcpt(ctx, i); fail != nil {
			return fail
		}
	}
	if t.taken == 0 {
		return nil
	}
	return t.data(ctx)
}

// group sends MAIL, every RCPT and DATA in one write and reads the replies in order. All have the time of MAIL to be
// written; each reply has its own.
func (t *transaction) group(ctx context.Context) *smtpreply.Error {
	c := t.c
	if !c.box.expect(2 + len(t.rcpts)) {
		return c.outOfStep(smtpreply.StageMail)
	}
	t.writeMail()
	for i := range t.rcpts {
		t.writeRcpt(i)
	}
	c.writeLine(dataLine)
	t.beginSpans(ctx)
	c.flush(c.o.Timeouts.Mail.Std())
	return t.readGroup(ctx)
}

// readGroup reads the replies to a group.
func (t *transaction) readGroup(ctx context.Context) *smtpreply.Error {
	if fail := t.readMail(ctx); fail != nil {
		t.drain(ctx, len(t.rcpts))
		return fail
	}
	for i := range t.rcpts {
		if fail := t.readRcpt(ctx, i); fail != nil {
			return fail
		}
	}
	if t.taken == 0 {
		t.drain(ctx, 0)
		return nil
	}
	return t.readData(ctx)
}

// drain reads the replies of a group that decide nothing any more: those of n RCPT and of DATA. A host that wants data
// for no recipient gets the lone dot (S-49). What goes wrong here costs the session, not the recipients (S-35).
func (t *transaction) drain(ctx context.Context, n int) {
	c := t.c
	for range n {
		if c.state == stateBroken {
			return
		}
		if reply, fail := t.reply(ctx, smtpreply.StageRcpt, c.o.Timeouts.Rset.Std()); fail == nil && reply.code == 421 {
			c.state = stateBroken
		}
	}
	if c.state == stateBroken {
		return
	}
	reply, fail := t.reply(ctx, smtpreply.StageData, c.o.Timeouts.Rset.Std())
	if fail == nil && reply.code == 354 {
		reply, fail = c.command(ctx, smtpreply.StageDot, c.o.Timeouts.Rset.Std(), ".\r\n")
	}
	if fail == nil && reply.code == 421 {
		c.state = stateBroken
	}
}

// untouched reports that the session ended before the host had accepted MAIL, without a word against the message.
func (t *transaction) untouched(fail *smtpreply.Error) bool {
	if fail == nil || t.c.state != stateBroken || fail.Stage != smtpreply.StageMail && fail.Stage != smtpreply.StageRset {
		return false
	}
	return fail.Reason == smtpreply.ReasonConnectionLost || fail.Code == 421 || t.rides.disturbed(fail)
}

// fill gives the failure of the whole to the recipients that have no answer of their own yet: who was refused stays
// refused (S-33, S-35).
func (t *transaction) fill(fail *smtpreply.Error) {
	for _, i := range t.rcpts {
		if t.result.Recipients[i].Failure == t.pending {
			t.result.Recipients[i] = RecipientResult{Reply: fail.Reply(), Failure: fail}
		}
	}
}

// deliver notes the 2yz to the dot for every recipient whose RCPT was accepted.
func (t *transaction) deliver(reply smtpreply.Reply) {
	for _, i := range t.rcpts {
		if t.result.Recipients[i].Failure == t.pending {
			t.result.Recipients[i] = RecipientResult{Reply: reply}
		}
	}
}

func (t *transaction) beginSpans(ctx context.Context) {
	c := t.c
	t.mailSpan, t.rcptSpan, t.dataSpan = c.begin(ctx, "smtp.mail"), c.begin(ctx, "smtp.rcpt"), c.begin(ctx, "smtp.data")
}

// endSpans ends the spans that no reply has ended.
func (t *transaction) endSpans(fail *smtpreply.Error) {
	t.mailSpan.end(0, fail)
	t.rcptSpan.end(0, fail)
	t.dataSpan.end(0, fail)
}
