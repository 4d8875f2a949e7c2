// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bufio"
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/postrider/postrider/kit/smtpreply"
)

// connect opens the TCP connection and starts to read from it (S-01, S-11).
func (c *Conn) connect(ctx context.Context) *smtpreply.Error {
	c.stage = smtpreply.StageConnect
	span := c.begin(ctx, "smtp.connect")
	conn, err := c.dial(ctx)
	if err != nil {
		fail := c.connectFailure(ctx, err)
		c.observed(smtpreply.StageConnect, rawReply{}, fail)
		span.end(0, fail)
		return fail
	}
	span.end(0, nil, attribute.String("network.local.address", conn.LocalAddr().String()))
	c.wire = &wire{Conn: conn}
	c.out = bufio.NewWriterSize(c.wire, outBuffer)
	c.box = newMailbox(c.wire.interrupt, c.wire.withdraw)
	c.box.expect(1) // the greeting
	c.in = startReader(conn, c.box)
	if c.o.Open != nil {
		c.o.Open(+1)
	}
	c.observed(smtpreply.StageConnect, rawReply{}, nil)
	return nil
}

func (c *Conn) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeouts.Connect.Std())
	defer cancel()
	if c.o.Dial != nil {
		return c.o.Dial(ctx, "tcp", c.o.Address.String())
	}
	// Keep-alive probes would tell nothing that the time limits of the phases do not.
	d := net.Dialer{KeepAlive: -1}
	if c.o.Source.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: c.o.Source.AsSlice(), Zone: c.o.Source.Zone()}
	}
	return d.DialContext(ctx, "tcp", c.o.Address.String())
}

// connectFailure tells an address that does not answer from one this machine has no way to.
func (c *Conn) connectFailure(ctx context.Context, err error) *smtpreply.Error {
	if ctx.Err() != nil {
		return c.fail(smtpreply.StageConnect, context.Cause(ctx))
	}
	c.state = stateBroken
	e := &smtpreply.Error{Stage: smtpreply.StageConnect, Reason: smtpreply.ReasonConnect, Err: err}
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		e.Reason, e.Detail = smtpreply.ReasonNoLocalRoute, "this machine has no route to the address"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Detail = "connection refused"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		e.Detail = "no connection within " + c.o.Timeouts.Connect.String()
	default:
		e.Detail = "connection failed"
	}
	c.log.note(e.Detail)
	return e
}

// greeting awaits the greeting (RFC 5321, section 3.1; S-02, S-12 to S-16).
func (c *Conn) greeting(ctx context.Context) *smtpreply.Error {
	span := c.begin(ctx, "smtp.greeting")
	reply, fail := c.await(ctx, smtpreply.StageGreeting, c.greetingTime())
	if fail == nil {
		c.greeted = true
		fail = c.judgeOpening(smtpreply.StageGreeting, reply)
	}
	c.observed(smtpreply.StageGreeting, reply, fail)
	span.end(reply.code, fail)
	return fail
}

func (c *Conn) greetingTime() time.Duration {
	if c.o.LastCandidate {
		return c.o.Timeouts.GreetingLast.Std()
	}
	return c.o.Timeouts.Greeting.Std()
}

// judgeOpening judges the reply to the greeting, and to EHLO and HELO where S-24 sends it here: 2yz is good, 5yz is a
// host that does not want us now (S-15).
func (c *Conn) judgeOpening(stage smtpreply.Stage, reply rawReply) *smtpreply.Error {
	if reply.code < 300 {
		return nil
	}
	fail := c.refused(stage, reply)
	if fail.Permanent() {
		fail.Reason = smtpreply.ReasonGreetingRefused
		fail.Detail = "the host refuses the session"
	}
	return fail
}
