// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// ReadData reads the data of a message up to CRLF.CRLF (RFC 5321, section 4.1.1.4). message has the dots that the
// client added removed; raw is what came over the wire, the final dot line included.
func (c *Conn) ReadData() (message, raw []byte) {
	c.tb.Helper()
	message, raw, err := c.TryReadData()
	if err != nil {
		c.Fail("read message data: %v", err)
	}
	return message, raw
}

// TryReadData is ReadData that returns the error, with what came before it. A message cut off is io.ErrUnexpectedEOF.
func (c *Conn) TryReadData() (message, raw []byte, err error) {
	c.deadline()
	defer c.noDeadline()
	var m, r bytes.Buffer
	d := dataReader{
		br:      c.br,
		each:    func(p []byte) error { m.Write(p); c.deadline(); return nil },
		rawEach: func(p []byte) { r.Write(p) },
	}
	if err = d.read(); err != nil {
		c.note("C: (%d octets of data, then %v)", r.Len(), err)
	} else {
		c.note("C: (%d octets of data and the final dot)", d.size)
	}
	return m.Bytes(), r.Bytes(), err
}

// ReadN reads exactly n octets, whatever they are, as they came: the start of a message, say, before a reply in the
// middle of it.
func (c *Conn) ReadN(n int) []byte {
	c.tb.Helper()
	c.deadline()
	defer c.noDeadline()
	b := make([]byte, n)
	got, err := io.ReadFull(c.br, b)
	c.note("C: (%d octets)", got)
	if err != nil {
		c.Fail("read %d octets, got %d: %v", n, got, err)
	}
	return b
}

// Greet sends the greeting of a host and answers EHLO with its name and the extensions. It gives the client's EHLO
// line.
func (c *Conn) Greet(name string, extensions ...string) string {
	c.tb.Helper()
	c.Send("220 " + name + " ESMTP\r\n")
	return c.Hello(name, extensions...)
}

// Hello awaits EHLO and answers with name and the extensions, as Greet does after the greeting.
func (c *Conn) Hello(name string, extensions ...string) string {
	c.tb.Helper()
	line := c.Expect("EHLO ")
	c.Send(Reply(250, append([]string{name}, extensions...)...))
	return line
}

// Envelope takes MAIL, every RCPT, and DATA, and answers them 250, 250 and 354, one by one or pipelined. It gives the
// lines as they came.
func (c *Conn) Envelope() (mail string, rcpts []string) {
	c.tb.Helper()
	mail = c.Expect("MAIL FROM:<")
	c.Send("250 2.1.0 sender ok\r\n")
	for {
		line := c.ReadLine()
		switch {
		case strings.HasPrefix(line, "RCPT TO:<"):
			rcpts = append(rcpts, line)
			c.Send("250 2.1.5 recipient ok\r\n")
		case line == "DATA" && len(rcpts) > 0:
			c.Send("354 go ahead\r\n")
			return mail, rcpts
		default:
			c.Fail("got %q, want RCPT or, after one, DATA", clip(line))
		}
	}
}

// Take is a whole good transaction: Envelope, ReadData, and 250 to the final dot. It gives the message without the
// added dots.
func (c *Conn) Take() []byte {
	c.tb.Helper()
	c.Envelope()
	message, _ := c.ReadData()
	c.Send("250 2.0.0 queued\r\n")
	return message
}

// Quit awaits the end of the session: QUIT, answered 221 if the client still listens, then the client's close.
func (c *Conn) Quit() {
	c.tb.Helper()
	c.Expect("QUIT")
	// A client need not wait for the 221, so a failed write is no fault of it.
	if err := c.TrySend("221 2.0.0 bye\r\n"); err != nil {
		c.note("221 was not taken: %v", err)
		return
	}
	c.ExpectClosed()
}

// Discard reads and drops whatever the client sends until it has taken n octets or the client ends; it gives the
// number of octets.
func (c *Conn) Discard(n int64) int64 {
	c.tb.Helper()
	c.deadline()
	defer c.noDeadline()
	got, err := io.CopyN(io.Discard, c.br, n)
	c.note("C: (%d octets dropped)", got)
	if err != nil && !errors.Is(err, io.EOF) && closeKind(err) != ClosedReset {
		c.Fail("discard %d octets, got %d: %v", n, got, err)
	}
	return got
}
