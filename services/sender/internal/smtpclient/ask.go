// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"errors"

	"github.com/postrider/postrider/kit/smtpreply"
)

// Ask says MAIL and RCPT and goes no further: it never says DATA. from is empty for the null reverse-path. It returns why
// the host would not take mail for the recipient; nil when it would. It must be called on a usable session, of which
// nothing but Quit can be asked afterwards.
func (c *Conn) Ask(ctx context.Context, from, to string) *smtpreply.Error {
	if c.state != stateReady {
		return &smtpreply.Error{
			Stage: c.stage, Reason: smtpreply.ReasonInternal, Err: errors.New("smtpclient: Ask on a session that is not ready"),
		}
	}
	m := &Message{From: from, Recipients: []Recipient{{Address: to}}}
	if fail := c.CanTake(m); fail != nil {
		c.observed(smtpreply.StageMail, rawReply{}, fail)
		return fail
	}
	d := &delivery{
		c: c, m: m, result: &Result{Recipients: make([]RecipientResult, 1)}, patience: newPatience(&c.o.Timeouts),
		utf8: needsUTF8(m) && c.ext.SMTPUTF8, bare: true,
	}
	t := transaction{delivery: d, rcpts: []int{0}}
	c.dirty = true
	fail := t.mail(ctx)
	if fail == nil {
		fail = t.rcpt(ctx, 0)
	}
	if fail == nil {
		fail = d.result.Recipients[0].Failure
	}
	t.endSpans(fail)
	return fail
}
