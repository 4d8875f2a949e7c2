// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"

	"github.com/postrider/postrider/kit/smtpreply"
)

const dataLine = "DATA\r\n"

// data says DATA and awaits its reply.
func (t *transaction) data(ctx context.Context) *smtpreply.Error {
	c := t.c
	if !c.box.expect(1) {
		return c.outOfStep(smtpreply.StageData)
	}
	c.writeLine(dataLine)
	t.dataSpan = c.begin(ctx, "smtp.data")
	c.flush(c.o.Timeouts.Data.Std())
	return t.readData(ctx)
}

// readData judges the reply to DATA: 354 and nothing else asks for the content (S-56).
func (t *transaction) readData(ctx context.Context) *smtpreply.Error {
	c := t.c
	reply, fail := t.reply(ctx, smtpreply.StageData, c.o.Timeouts.Data.Std())
	if fail == nil && reply.code != 354 {
		fail = c.refused(smtpreply.StageData, reply)
	}
	if fail != nil {
		t.dataSpan.end(reply.code, fail)
	}
	return fail
}
