// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"

	"github.com/postrider/postrider/kit/smtpreply"
)

// dot awaits the reply to the final dot (RFC 5321, section 4.5.3.2.6). A complete 2yz reply, and nothing else, means that
// the host has taken the message (S-61). Without a complete reply, or with one that makes no sense, nobody knows (S-47,
// S-63).
func (t *transaction) dot(ctx context.Context) *smtpreply.Error {
	c := t.c
	span := c.begin(ctx, "smtp.dot")
	reply, fail := c.await(ctx, smtpreply.StageDot, c.o.Timeouts.Dot.Std())
	switch {
	case fail != nil:
		fail = ambiguous(fail)
	case reply.code < 300:
		c.dirty = false
		c.messages++
		t.deliver(reply.parsed(smtpreply.StageDot))
	case reply.code < 400:
		fail = ambiguous(c.refused(smtpreply.StageDot, reply))
	default:
		fail = c.refused(smtpreply.StageDot, reply)
		c.ride.afterRefusal()
	}
	span.end(reply.code, fail)
	return fail
}
