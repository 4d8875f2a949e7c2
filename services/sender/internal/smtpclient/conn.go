// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// state is where a session stands. A call in the wrong state is a fault of the program, not of the network.
type state int

const (
	stateOpening state = iota
	stateReady         // between two transactions
	stateBusy          // in a transaction
	stateRiding        // the next message's envelope is on its way; only that message may be sent
	stateBroken        // lost, out of step or given up: nothing may be sent any more
	stateClosed
)

// Times that are no configuration.
const (
	lastWords = time.Second // for a reply that may have come before a write failed (S-60)
	quitTime  = time.Second // to write QUIT
	outBuffer = 16 << 10    // octets of commands or content in one write
)

// Conn is one session with one host. It is for one goroutine at a time. Quit or Close must be called in the end.
type Conn struct {
	o     *Options
	how   approach
	wire  *wire
	out   *bufio.Writer
	box   *mailbox
	in    *reader
	timer *time.Timer

	scratch []byte // for one command line

	state     state
	stage     smtpreply.Stage // last step reached
	greeted   bool
	helo      bool // HELO was said: nothing is known of extensions
	ext       Extensions
	tls       *eventv1.TLSResult
	secured   *tls.Conn // nil in clear
	resuming  bool      // the handshake offered a session to be resumed
	resumed   bool      // and it was
	fallback  bool      // in clear because STARTTLS did not work
	dirty     bool      // the last transaction did not end in 2yz to the dot: RSET before the next
	writeErr  error     // first failed write
	log       transcript
	messages  int
	mails     int   // MAIL commands said
	ride      *ride // the envelope that went out with the last final dot; nil: none
	rideLines []byte
	began     time.Time
	farewell  *smtpreply.Error // the 421 that ended the session
	preceding []string         // transcript of the connections before this one
	secrets   []string         // what no transcript and no failure may hold
}

// Extensions is what the host offered in its last reply to EHLO.
func (c *Conn) Extensions() Extensions { return c.ext }

// HeloOnly reports that the host was greeted with HELO, so that nothing is known of its extensions. forced says that
// this is so because a connection was lost after EHLO (S-22), not because the host refused EHLO.
func (c *Conn) HeloOnly() (helo, forced bool) { return c.helo, c.helo && c.how.helo }

// Greeted reports that a greeting arrived, good or bad.
func (c *Conn) Greeted() bool { return c.greeted }

// Stage is the last step reached.
func (c *Conn) Stage() smtpreply.Stage { return c.stage }

// TLS is what transport security came to; nil before EHLO was answered.
func (c *Conn) TLS() *eventv1.TLSResult { return c.tls }

// ClearFallback reports that the session is in clear because STARTTLS or its handshake failed (S-37).
func (c *Conn) ClearFallback() bool { return c.fallback }

// Messages is the number of messages the host took in this session.
func (c *Conn) Messages() int { return c.messages }

// Mails is the number of MAIL commands of this session, which a host may limit (RFC 9422, section 5.1).
func (c *Conn) Mails() int { return c.mails }

// Began is when the session was ready for its first message.
func (c *Conn) Began() time.Time { return c.began }

// Farewell is the 421 with which the host ended the session (RFC 5321, section 3.8); nil when it did not.
func (c *Conn) Farewell() *smtpreply.Error { return c.farewell }

// Written is the number of octets written to the socket so far.
func (c *Conn) Written() int64 {
	if c.wire == nil {
		return 0
	}
	return c.wire.written.Load()
}

// Transcript is the session so far: commands and replies without content, local parts and secrets.
func (c *Conn) Transcript() []string { return append(c.preceding, c.log.lines()...) }

// LocalAddr is our address of the connection; invalid without one.
func (c *Conn) LocalAddr() netip.AddrPort {
	if c.wire == nil {
		return netip.AddrPort{}
	}
	addr, err := netip.ParseAddrPort(c.wire.LocalAddr().String())
	if err != nil {
		return netip.AddrPort{}
	}
	return addr
}

// Usable reports that another message may be sent: the session is in step, open, and nothing unexpected has come.
func (c *Conn) Usable() bool { return c.state == stateReady && c.box.quiet() }

// Park is for a session that waits for its next message: lost is called once when input, or the end of it, comes
// meanwhile, and must not block. It returns false, and lost is not called, when the session is not usable.
func (c *Conn) Park(lost func()) bool { return c.state == stateReady && c.box.park(lost) }

// Unpark ends the waiting and reports whether the session is still usable.
func (c *Conn) Unpark() bool { return c.box.unpark() && c.Usable() && !c.wire.inputWaiting() }

// command sends one command line and awaits its reply.
func (c *Conn) command(ctx context.Context, stage smtpreply.Stage, timeout time.Duration, line string) (rawReply, *smtpreply.Error) {
	c.stage = stage
	if !c.box.expect(1) {
		return rawReply{}, c.outOfStep(stage)
	}
	c.writeLine(line)
	c.flush(timeout)
	return c.await(ctx, stage, timeout)
}

// writeLine puts a command, with its CRLF, into the buffer.
func (c *Conn) writeLine(line string) {
	c.scratch = append(c.scratch[:0], line...)
	c.writeScratch()
}

// writeScratch is writeLine for the line in c.scratch.
func (c *Conn) writeScratch() {
	c.log.command(c.scratch)
	c.note(c.out.Write(c.scratch))
}

// flush sends what is in the buffer within timeout. A failed write is not told here: a reply that came before it counts
// more (S-60), so await looks for one first.
func (c *Conn) flush(timeout time.Duration) {
	c.wire.limit(0, time.Now().Add(timeout))
	c.note(0, c.out.Flush())
}

func (c *Conn) note(_ int, err error) {
	if err != nil && c.writeErr == nil {
		c.writeErr = err
	}
}

// await waits for the next reply, at most timeout for the whole of it. The end of ctx ends the wait, except after the
// final dot: what the host has taken on by then must be known.
func (c *Conn) await(ctx context.Context, stage smtpreply.Stage, timeout time.Duration) (rawReply, *smtpreply.Error) {
	c.stage = stage
	reply, fail, settled := c.poll(stage)
	if settled {
		return reply, fail
	}
	if c.writeErr != nil {
		timeout = min(timeout, lastWords)
	}
	c.timer.Reset(timeout)
	defer c.timer.Stop()
	done := ctx.Done()
	if stage == smtpreply.StageDot {
		done = nil
	}
	for {
		select {
		case <-c.box.wake:
		case <-done:
			return rawReply{}, c.fail(stage, context.Cause(ctx))
		case <-c.timer.C:
			return rawReply{}, c.fail(stage, c.lateCause())
		}
		if reply, fail, settled = c.poll(stage); settled {
			return reply, fail
		}
	}
}

// poll takes what has come.
func (c *Conn) poll(stage smtpreply.Stage) (reply rawReply, fail *smtpreply.Error, settled bool) {
	reply, surplus, fault := c.box.next()
	switch {
	case reply.code != 0:
		told := reply
		if stage == smtpreply.StageAuth {
			reply, told = c.withoutSecrets(reply)
		}
		c.log.reply(told)
		return reply, nil, true
	case surplus.code != 0:
		return rawReply{}, c.surplus(stage, surplus), true
	case fault != nil:
		return rawReply{}, c.fail(stage, fault), true
	}
	return rawReply{}, nil, false
}

// lateCause is why a reply did not come in time.
func (c *Conn) lateCause() error {
	if c.writeErr != nil {
		return c.writeErr
	}
	return errTimeout
}

// outOfStep is the failure of a step for which the connection is of no more use.
func (c *Conn) outOfStep(stage smtpreply.Stage) *smtpreply.Error {
	if _, fail, settled := c.poll(stage); settled {
		return fail
	}
	return c.fail(stage, &protocolError{"input before the command was sent"})
}

// surplus is the failure that a reply nobody asked for leads to: 421 is the host's way to end a session at any time
// (S-33), all others are out of step (S-32).
func (c *Conn) surplus(stage smtpreply.Stage, r rawReply) *smtpreply.Error {
	c.log.reply(r)
	if r.code == 421 {
		return c.dismissed(stage, r)
	}
	return c.fail(stage, &protocolError{"reply before the command was sent"})
}

// refused is the failure that a reply at stage is. After 421 the session is over (RFC 5321, section 3.8).
func (c *Conn) refused(stage smtpreply.Stage, r rawReply) *smtpreply.Error {
	if r.code == 421 {
		return c.dismissed(stage, r)
	}
	if r.code < 400 {
		c.state = stateBroken
		e := smtpreply.FromReply(stage, r.parsed(stage))
		e.Reason = smtpreply.ReasonProtocol
		e.Detail = "positive reply out of place"
		return e
	}
	return smtpreply.FromReply(stage, r.parsed(stage))
}

// dismissed is the failure that 421 is: the host ends the session (RFC 5321, section 3.8).
func (c *Conn) dismissed(stage smtpreply.Stage, r rawReply) *smtpreply.Error {
	c.state = stateBroken
	c.farewell = smtpreply.FromReply(stage, r.parsed(stage))
	return c.farewell
}

// errTimeout is a reply that did not come in time.
var errTimeout = errors.New("no complete reply in time")
