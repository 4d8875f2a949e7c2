// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
)

// Quit says QUIT, if the session is in step, and closes without waiting for the 221 (S-73).
func (c *Conn) Quit() {
	if c.state == stateRiding {
		c.abort() // the host may be waiting for content
		return
	}
	if (c.state == stateReady || c.state == stateOpening) && c.wire != nil && c.box.expect(1) {
		c.writeLine("QUIT\r\n")
		c.flush(quitTime)
		if c.secured != nil && c.writeErr == nil {
			c.wire.limit(0, time.Now().Add(quitTime))
			_ = c.secured.CloseWrite()
		}
	}
	c.Close()
}

// Close closes the connection without a word. It may be called more than once.
func (c *Conn) Close() { c.end((*wire).close) }

// abort closes with a reset, so that nothing of what was written stays in the kernel (S-57).
func (c *Conn) abort() { c.end((*wire).reset) }

func (c *Conn) end(how func(*wire)) {
	if c.state == stateClosed {
		return
	}
	c.state = stateClosed
	if c.wire == nil {
		return
	}
	how(c.wire)
	if c.in != nil {
		<-c.in.done
	}
	if c.o.Open != nil {
		c.o.Open(-1)
	}
}

// rset ends what an unfinished transaction left at the host (RFC 5321, section 4.1.1.5).
func (c *Conn) rset(ctx context.Context) *smtpreply.Error {
	reply, fail := c.command(ctx, smtpreply.StageRset, c.o.Timeouts.Rset.Std(), "RSET\r\n")
	if fail == nil && reply.code >= 300 {
		fail = c.refused(smtpreply.StageRset, reply)
		c.state = stateBroken
	}
	if fail == nil {
		c.dirty = false
	}
	return fail
}
