// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// DefaultLimit is how long one step of a conversation waits for the client unless [Conn.SetLimit] says otherwise. It
// only bounds a broken test: no behaviour of the client is measured against it.
const DefaultLimit = time.Minute

// Conn is the server's end of one SMTP connection inside a conversation. Its methods are the steps of the dialogue.
// A step that fails reports the error with the transcript so far, closes the connection and ends the conversation
// function; it does not return. The Try forms return the error instead. A Conn is for the goroutine of its
// conversation only.
type Conn struct {
	// N is the number of this connection at its server, from 1.
	N int

	tb     testing.TB
	under  net.Conn // as accepted
	conn   net.Conn // under, or TLS over it
	br     *bufio.Reader
	limit  time.Duration
	start  time.Time
	ending *atomic.Bool // the test is over: errors are no news any more
	lines  []string     // transcript
	in     *int64       // octets received, TLS taken off
}

func newConn(tb testing.TB, c net.Conn, n int, ending *atomic.Bool) *Conn {
	conn := &Conn{N: n, tb: tb, under: c, limit: DefaultLimit, start: time.Now(), ending: ending}
	conn.over(c)
	return conn
}

// over puts the conversation on a new layer: TCP at first, TLS later.
func (c *Conn) over(conn net.Conn) {
	n := new(int64)
	c.conn, c.in = conn, n
	c.br = bufio.NewReaderSize(countingReader{conn, n}, maxLine)
}

type countingReader struct {
	r io.Reader
	n *int64
}

func (r countingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	*r.n += int64(n)
	return n, err
}

// SetLimit sets how long each further step waits for the client; 0 means without limit.
func (c *Conn) SetLimit(d time.Duration) { c.limit = d }

// RemoteAddr is the client's address.
func (c *Conn) RemoteAddr() net.Addr { return c.under.RemoteAddr() }

// NetConn is the connection below, for what no method does. TLS, when started, lies over it.
func (c *Conn) NetConn() net.Conn { return c.under }

// Transcript gives the dialogue so far, one line a step, long ones cut.
func (c *Conn) Transcript() string { return strings.Join(c.lines, "\n") }

// Received is the number of octets read from the client so far, TLS taken off.
func (c *Conn) Received() int64 { return *c.in }

func (c *Conn) note(format string, args ...any) {
	c.lines = append(c.lines, fmt.Sprintf(format, args...))
}

// Fail reports an error of the conversation to the test and ends the conversation.
func (c *Conn) Fail(format string, args ...any) {
	if !c.ending.Load() {
		c.tb.Helper()
		c.tb.Errorf("smtptest: connection %d: %s\n%s", c.N, fmt.Sprintf(format, args...), c.Transcript())
	}
	runtime.Goexit()
}

// Send writes raw octets; line ends are the caller's business.
func (c *Conn) Send(raw string) {
	c.tb.Helper()
	if err := c.TrySend(raw); err != nil {
		c.Fail("send %q: %v", clip(raw), err)
	}
}

// TrySend is Send that returns the error.
func (c *Conn) TrySend(raw string) error {
	c.deadline()
	defer c.noDeadline()
	c.note("S: %q", clip(raw))
	_, err := io.WriteString(c.conn, raw)
	return err
}

// Drip sends raw octet by octet with a pause before each, for times that must cover a whole reply. It stops without
// error when the client has closed.
func (c *Conn) Drip(raw string, pause time.Duration) {
	c.note("S: drip %q", clip(raw))
	for i := range len(raw) {
		time.Sleep(pause)
		c.deadline()
		if _, err := io.WriteString(c.conn, raw[i:i+1]); err != nil {
			c.note("drip ended after %d octets: %v", i, err)
			return
		}
	}
	c.noDeadline()
}

// ReadLine reads one line of the client and gives it without CRLF. A bare CR or LF fails the test (RFC 5321, section
// 2.3.8).
func (c *Conn) ReadLine() string {
	c.tb.Helper()
	line, err := c.TryReadLine()
	if err != nil {
		c.Fail("read a line: %v", err)
	}
	return line
}

// TryReadLine is ReadLine that returns the error: io.EOF when the client closed, a reset, the time limit.
func (c *Conn) TryReadLine() (string, error) {
	c.deadline()
	defer c.noDeadline()
	line, bare, err := readLine(c.br)
	if err != nil {
		c.note("C: (%v)", err)
		return "", err
	}
	c.note("C: %q", clip(line))
	if bare {
		return line, fmt.Errorf("bare CR or LF in %q", clip(line))
	}
	return line, nil
}

// Expect reads one line, which must begin with prefix, and gives it without CRLF. Upper and lower case differ.
func (c *Conn) Expect(prefix string) string {
	c.tb.Helper()
	line := c.ReadLine()
	if !strings.HasPrefix(line, prefix) {
		c.Fail("got %q, want a line that begins with %q", clip(line), prefix)
	}
	return line
}

// Buffered says how many octets of the client were received and not read yet: above 0 the client sent more than it
// was asked for, or a pipelined group (RFC 2920, section 3.1).
func (c *Conn) Buffered() int { return c.br.Buffered() }

// StartTLS makes the server's part of the TLS handshake; the 220 reply has been sent before. Octets that the client
// sent before its ClientHello fail the test (RFC 3207, section 4.2).
func (c *Conn) StartTLS(cfg *tls.Config) tls.ConnectionState {
	c.tb.Helper()
	state, err := c.TryStartTLS(cfg)
	if err != nil {
		c.Fail("TLS handshake: %v", err)
	}
	return state
}

// TryStartTLS is StartTLS that returns the error.
func (c *Conn) TryStartTLS(cfg *tls.Config) (tls.ConnectionState, error) {
	c.deadline()
	defer c.noDeadline()
	before := *c.in
	t := tls.Server(&unread{Conn: c.conn, r: c.br}, cfg)
	if err := t.Handshake(); err != nil {
		c.note("TLS: %v", err)
		return tls.ConnectionState{}, err
	}
	c.over(t)
	*c.in = before
	state := t.ConnectionState()
	c.note("TLS: %s", tls.VersionName(state.Version))
	return state, nil
}

// unread is a connection whose first octets were already read into a buffer.
type unread struct {
	net.Conn
	r io.Reader
}

func (u *unread) Read(p []byte) (int, error) { return u.r.Read(p) }

func (c *Conn) deadline() {
	if c.limit > 0 {
		_ = c.under.SetDeadline(time.Now().Add(c.limit))
	}
}

func (c *Conn) noDeadline() { _ = c.under.SetDeadline(time.Time{}) }
