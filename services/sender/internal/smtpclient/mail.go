// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"strconv"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/smtpreply"
)

// mail says MAIL and awaits its reply.
func (t *transaction) mail(ctx context.Context) *smtpreply.Error {
	c := t.c
	if !c.box.expect(1) {
		return c.outOfStep(smtpreply.StageMail)
	}
	t.writeMail()
	t.mailSpan = c.begin(ctx, "smtp.mail")
	c.flush(c.o.Timeouts.Mail.Std())
	return t.readMail(ctx)
}

// writeMail writes MAIL with the parameters the host offers (RFC 5321, section 4.1.1.2): SIZE (RFC 1870), BODY (RFC
// 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461), REQUIRETLS (RFC 8689).
func (t *transaction) writeMail() {
	t.c.mails++
	t.c.scratch = t.appendMail(t.c.scratch[:0])
	t.c.writeScratch()
}

func (t *transaction) appendMail(b []byte) []byte {
	ext := &t.c.ext
	b = append(b, "MAIL FROM:<"...)
	b = append(b, t.path(t.m.From)...)
	b = append(b, '>')
	if ext.Size && !t.bare {
		b = strconv.AppendInt(append(b, " SIZE="...), t.size, 10)
	}
	if t.m.EightBit && ext.EightBitMIME {
		b = append(b, " BODY=8BITMIME"...)
	}
	if t.utf8 {
		b = append(b, " SMTPUTF8"...)
	}
	if t.m.RequireTLS && ext.RequireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if ext.DSN && !t.bare {
		if t.m.Ret != "" {
			b = append(append(b, " RET="...), t.m.Ret...)
		}
		if t.m.EnvID != "" {
			b = append(append(b, " ENVID="...), mailaddr.EncodeXText(t.m.EnvID)...)
		}
	}
	return append(b, '\r', '\n')
}

// path is an address as it goes out: without SMTPUTF8 a domain that is not ASCII goes as A-labels (S-68).
func (t *transaction) path(address string) string {
	if t.utf8 || isASCII(address) {
		return address
	}
	a, err := mailaddr.Parse(address)
	if err != nil {
		return address // CanTake has refused it
	}
	ascii, _ := a.ToASCII()
	return ascii.String()
}

// readMail judges the reply to MAIL. 555, 501 and 504 may mean a parameter, so that MAIL without the optional ones is
// worth a second try (S-50).
func (t *transaction) readMail(ctx context.Context) *smtpreply.Error {
	c := t.c
	reply, fail := t.reply(ctx, smtpreply.StageMail, c.o.Timeouts.Mail.Std())
	if fail == nil && reply.code >= 300 {
		fail = c.refused(smtpreply.StageMail, reply)
		if t.rides.disturbed(fail) {
			c.state = stateBroken
		}
		badParameter := reply.code == 555 || reply.code == 501 || reply.code == 504
		t.retry = badParameter && t.optional()
	}
	c.observed(smtpreply.StageMail, reply, fail)
	t.mailSpan.end(reply.code, fail)
	return fail
}

// optional reports that MAIL had parameters that it can go without.
func (t *transaction) optional() bool {
	ext := &t.c.ext
	return !t.bare && (ext.Size || ext.DSN && (t.m.Ret != "" || t.m.EnvID != ""))
}
