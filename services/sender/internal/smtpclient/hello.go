// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"strings"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/smtpreply"
)

// hello says EHLO, or HELO when the host does not know it, and notes what the host offers (RFC 5321, section 3.2).
// What an earlier reply offered is forgotten (RFC 3207, section 4.2).
func (c *Conn) hello(ctx context.Context) *smtpreply.Error {
	c.ext, c.helo = Extensions{}, false
	if !c.how.helo {
		done, fail := c.ehlo(ctx)
		if done || fail != nil {
			return fail
		}
	}
	span := c.begin(ctx, "smtp.ehlo")
	reply, fail := c.command(ctx, smtpreply.StageHelo, c.o.Timeouts.Ehlo.Std(), "HELO "+c.heloName()+"\r\n")
	if fail == nil {
		c.helo = true
		fail = c.judgeHello(smtpreply.StageHelo, reply)
	}
	c.observed(smtpreply.StageHelo, reply, fail)
	span.end(reply.code, fail)
	return fail
}

// ehlo says EHLO. done is false when HELO is to be tried on the same connection (S-21).
func (c *Conn) ehlo(ctx context.Context) (done bool, fail *smtpreply.Error) {
	span := c.begin(ctx, "smtp.ehlo")
	c.in.maxLines.Store(maxEhloLines)
	reply, fail := c.command(ctx, smtpreply.StageEhlo, c.o.Timeouts.Ehlo.Std(), "EHLO "+c.heloName()+"\r\n")
	c.in.maxLines.Store(maxReplyLines)
	switch {
	case fail != nil:
	case isUnknownCommand(reply.code):
		c.observed(smtpreply.StageEhlo, reply, nil)
		span.end(reply.code, nil)
		return false, nil
	default:
		fail = c.judgeHello(smtpreply.StageEhlo, reply)
		if fail == nil {
			c.ext = parseExtensions(reply.texts)
		}
	}
	c.observed(smtpreply.StageEhlo, reply, fail)
	span.end(reply.code, fail)
	return true, fail
}

// isUnknownCommand reports the replies to EHLO that mean: try HELO (S-21).
func isUnknownCommand(code int) bool {
	switch code {
	case 500, 501, 502, 503, 504, 550:
		return true
	}
	return false
}

// judgeHello judges the reply to EHLO or HELO. Of the name in it only our own counts, and only when the rule is on
// (S-18, S-19).
func (c *Conn) judgeHello(stage smtpreply.Stage, reply rawReply) *smtpreply.Error {
	if fail := c.judgeOpening(stage, reply); fail != nil {
		return fail
	}
	name, _, _ := strings.Cut(strings.TrimLeft(reply.texts[0], " "), " ")
	if c.o.OwnName == "" || !strings.EqualFold(strings.TrimSuffix(name, "."), c.o.OwnName) {
		return nil
	}
	return &smtpreply.Error{
		Stage: stage, Code: reply.code, Text: reply.parsed(stage).Lines,
		Reason: smtpreply.ReasonSelfSession, Detail: "the host has our own name",
	}
}

// heloName is the argument of EHLO: the configured name, else the address literal of our end of the connection (RFC
// 5321, section 4.1.4).
func (c *Conn) heloName() string {
	if c.o.Hostname != "" {
		return c.o.Hostname
	}
	if local := c.LocalAddr(); local.IsValid() {
		return mailaddr.Literal(local.Addr().Unmap())
	}
	return "[127.0.0.1]"
}
