// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"net"
	"time"
)

// keepRest bounds how much of the client's last input a Closed keeps.
const keepRest = 1 << 20

// Closed tells how and when the client ended a connection.
type Closed struct {
	Kind  CloseKind
	At    time.Time
	After time.Duration // since the step that waited for it began
	Rest  []byte        // what the client still sent, at most 1 MiB of it
	Total int64         // octets the client still sent
}

// Silent says nothing more and holds the connection until the client closes it, reading and keeping what the client
// still sends. It has no time limit of its own; the end of the test ends it. To assert that nothing was sent, look
// at Total, or use ExpectClosed.
func (c *Conn) Silent() Closed {
	c.note("S: silent")
	began := time.Now()
	c.noDeadline()
	var end Closed
	buf := make([]byte, 32<<10)
	for {
		n, err := c.br.Read(buf)
		end.Total += int64(n)
		if room := keepRest - len(end.Rest); room > 0 {
			end.Rest = append(end.Rest, buf[:min(n, room)]...)
		}
		if err != nil {
			end.Kind = closeKind(err)
			break
		}
	}
	end.At = time.Now()
	end.After = end.At.Sub(began)
	c.note("C: closed (%s) after %d octets, %s", end.Kind, end.Total, end.After)
	return end
}

// StopReading closes the window: it makes the receive buffer as small as it gets and reads nothing more until the
// client ends the connection. How much the client can still write before it blocks is its send buffer's affair (up to
// some megabytes on loopback unless it sets SO_SNDBUF; DefaultWindow with a Pipe). Like Silent it has no time limit. A
// FIN that waits behind unsent data does not come through a closed window, so a client that wants to be rid of the
// connection has to reset it.
func (c *Conn) StopReading() Closed {
	c.tb.Helper()
	c.note("S: reads no more")
	began := time.Now()
	c.noDeadline()
	end := Closed{Kind: ClosedError}
	switch conn := c.under.(type) {
	case *net.TCPConn:
		if err := conn.SetReadBuffer(1); err != nil {
			c.Fail("make the receive buffer small: %v", err)
		}
		end.Kind = awaitPeer(conn)
	case *PipeConn:
		end.Kind = conn.awaitPeer()
	default:
		c.Fail("the window of a %T cannot be closed", c.under)
	}
	end.At = time.Now()
	end.After = end.At.Sub(began)
	c.note("C: closed (%s) after %s", end.Kind, end.After)
	return end
}

// ExpectNothing fails the test when the client sends anything or closes within d, which is waited for in full.
func (c *Conn) ExpectNothing(d time.Duration) {
	c.tb.Helper()
	_ = c.under.SetDeadline(time.Now().Add(d))
	defer c.noDeadline()
	_, err := c.br.Peek(1)
	if err == nil {
		got, _ := c.br.Peek(c.br.Buffered())
		c.Fail("the client sent %q, want nothing for %s", clip(string(got)), d)
	}
	if kind := closeKind(err); kind != ClosedLimit {
		c.Fail("the client closed (%s), want nothing for %s", kind, d)
	}
	c.note("C: nothing for %s", d)
}

// ExpectClosed waits until the client closes, within the limit, and fails the test when it sends anything before or
// does not close.
func (c *Conn) ExpectClosed() Closed {
	c.tb.Helper()
	began := time.Now()
	c.deadline()
	defer c.noDeadline()
	var one [1]byte
	n, err := c.br.Read(one[:])
	if n > 0 {
		more, _ := c.br.Peek(c.br.Buffered())
		c.Fail("the client sent %q, want it to close", clip(string(one[:])+string(more)))
	}
	end := Closed{Kind: closeKind(err), At: time.Now()}
	end.After = end.At.Sub(began)
	if end.Kind == ClosedLimit {
		c.Fail("the client did not close within %s", c.limit)
	}
	c.note("C: closed (%s) after %s", end.Kind, end.After)
	return end
}

// FIN closes the sending half: the client reads end of file while it can still send (RFC 9293, section 3.6). Over TLS
// no close_notify is sent. A connection without a sending half fails the test.
func (c *Conn) FIN() {
	c.tb.Helper()
	half, ok := c.under.(interface{ CloseWrite() error })
	if !ok {
		c.Fail("a %T cannot be half closed", c.under)
	}
	c.note("S: FIN")
	if err := half.CloseWrite(); err != nil {
		c.Fail("close the sending half: %v", err)
	}
}

// Reset ends the connection with a TCP RST (SO_LINGER 0). A connection that cannot be reset fails the test.
func (c *Conn) Reset() {
	c.tb.Helper()
	c.note("S: RST")
	if err := reset(c.under); err != nil {
		c.Fail("reset: %v", err)
	}
}

// Close ends the connection in both directions: with FIN when all input was read, else TCP makes it a reset. The end
// of the conversation function closes as well.
func (c *Conn) Close() {
	c.note("S: close")
	_ = c.under.Close()
}

// resetter is what a connection has that can be reset without TCP.
type resetter interface{ Reset() error }

func reset(c net.Conn) error {
	switch c := c.(type) {
	case *net.TCPConn:
		if err := c.SetLinger(0); err != nil {
			return err
		}
		return c.Close()
	case resetter:
		return c.Reset()
	default:
		return &net.OpError{Op: "reset", Net: c.LocalAddr().Network(), Err: net.UnknownNetworkError("no reset")}
	}
}
