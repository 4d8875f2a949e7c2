// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"errors"
	"slices"

	"github.com/postrider/postrider/kit/smtpreply"
)

// maxRecipients is the most recipients of one transaction (RFC 5321, section 4.5.3.1.8).
const maxRecipients = 100

// delivery is a message on its way through a session: one or more transactions.
type delivery struct {
	c       *Conn
	m       *Message
	result  *Result
	pending *smtpreply.Error // stands at a recipient that has no answer yet
	size    int64            // octets on the wire, before dot-stuffing
	addCRLF bool             // the content does not end in CRLF (S-64)
	utf8    bool             // an address or header is not ASCII
	bare    bool             // MAIL without its optional parameters (S-50)
	aboard  *transaction     // the first transaction, when its envelope went out behind the message before

	patience patience
}

// Send hands m to the host, in more than one transaction where its recipients need that (S-54, S-55). The result has an
// entry for each recipient. It must be called on a usable session only.
//
// The end of ctx resets the connection; after the final dot the reply is awaited all the same. Whatever fails, no final
// dot is sent unless the whole content was (RFC 5321, section 4.1.1.4).
func (c *Conn) Send(ctx context.Context, m *Message) *Result {
	d, todo := c.boarded(m)
	if d == nil {
		d, todo = newDelivery(c, m)
		if fail := d.ready(); fail != nil {
			d.settle(todo, fail)
			return d.result
		}
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, c.wire.interrupt)
		defer stop()
	}
	entries, octets := c.log.mark()
	for len(todo) > 0 {
		todo = d.transact(ctx, todo)
	}
	if (c.state == stateReady || c.state == stateRiding) && !c.dirty {
		c.log.forget(entries, octets)
	}
	return d.result
}

// newDelivery begins the delivery of m. todo are its recipients.
func newDelivery(c *Conn, m *Message) (d *delivery, todo []int) {
	d = &delivery{
		c: c, m: m, result: &Result{Recipients: make([]RecipientResult, len(m.Recipients)), DSN: c.ext.DSN},
		patience: newPatience(&c.o.Timeouts),
	}
	todo = make([]int, len(m.Recipients))
	for i := range todo {
		todo[i] = i
	}
	return d, todo
}

// ready checks the session, the message and the content before a word is said.
func (d *delivery) ready() *smtpreply.Error {
	if d.c.state != stateReady {
		return &smtpreply.Error{
			Stage: d.c.stage, Reason: smtpreply.ReasonInternal,
			Err: errors.New("smtpclient: Send on a session that is not ready"),
		}
	}
	return d.prepare()
}

// prepare checks the message and the content against what the host offers.
func (d *delivery) prepare() *smtpreply.Error {
	if fail := d.c.CanTake(d.m); fail != nil {
		return fail
	}
	tail, err := bodyTail(d.m)
	if err != nil {
		return d.bodyFailure(err)
	}
	d.size, d.addCRLF = d.m.Size, tail != "" && tail != "\r\n"
	if d.addCRLF {
		d.size += int64(len("\r\n"))
	}
	d.utf8 = needsUTF8(d.m) && d.c.ext.SMTPUTF8
	d.pending = &smtpreply.Error{
		Stage: smtpreply.StageMail, Reason: smtpreply.ReasonInternal, Err: errors.New("smtpclient: recipient without a result"),
	}
	for i := range d.result.Recipients {
		d.result.Recipients[i].Failure = d.pending
	}
	return nil
}

// transact makes one transaction with the first of todo and returns those a further one is to be made for.
func (d *delivery) transact(ctx context.Context, todo []int) (rest []int) {
	t := d.aboard
	if d.aboard = nil; t == nil {
		t = d.transaction(todo)
	}
	n := len(t.rcpts)
	fail := t.run(ctx)
	d.result.DSN = d.result.DSN && !d.bare
	switch {
	case t.retry && d.c.state == stateReady:
		d.bare = true
		return todo
	case t.retry: // MAIL may still be good, and cannot be said again here
		d.settle(todo, withoutTransaction(nil))
		return nil
	case fail != nil && (fail.Stage == smtpreply.StageMail || !fail.Permanent()), d.c.state != stateReady:
		d.settle(todo[n:], withoutTransaction(fail))
		return nil
	case len(t.again) == 0:
		return todo[n:]
	}
	return slices.Concat(t.again, todo[n:])
}

// transaction is the next transaction with the first of todo.
func (d *delivery) transaction(todo []int) *transaction {
	n := min(len(todo), d.recipientLimit())
	t := &transaction{delivery: d, rcpts: todo[:n], last: n == len(todo)}
	d.settle(t.rcpts, d.pending)
	return t
}

// withoutTransaction is what recipients get that no transaction was begun for, when fail ended the one before. The end of
// the session, or a refusal of the sender, is theirs too; what was said of another transaction's content is not.
func withoutTransaction(fail *smtpreply.Error) *smtpreply.Error {
	if fail != nil && (fail.Stage == smtpreply.StageMail || !fail.Permanent() && fail.Reason != smtpreply.ReasonAmbiguous) {
		return fail
	}
	return &smtpreply.Error{
		Stage: smtpreply.StageMail, Reason: smtpreply.ReasonConnectionLost,
		Detail: "the session ended before these recipients were named",
	}
}

// recipientLimit is how many recipients one transaction may have (S-55).
func (d *delivery) recipientLimit() int {
	if n := d.c.ext.MaxRecipients; n > 0 && n < maxRecipients {
		return n
	}
	return maxRecipients
}

// settle gives recipients one failure.
func (d *delivery) settle(recipients []int, fail *smtpreply.Error) {
	for _, i := range recipients {
		d.result.Recipients[i] = RecipientResult{Reply: fail.Reply(), Failure: fail}
	}
}

// bodyFailure is the failure of content that cannot be sent as it is. No host is at fault.
func (d *delivery) bodyFailure(err error) *smtpreply.Error {
	d.result.BodyErr = err
	return &smtpreply.Error{
		Stage: smtpreply.StageLocal, Reason: smtpreply.ReasonInternal, Detail: "the stored content cannot be sent", Err: err,
	}
}
