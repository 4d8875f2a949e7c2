// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"time"
)

// session is one connection at a host. It runs in one goroutine.
type session struct {
	h    *Host
	o    *HostOptions
	info *ConnInfo
	conn net.Conn // as accepted
	br   *bufio.Reader
	bw   *bufio.Writer
	tls  *tls.ConnectionState

	verb, helo string
	offered    map[string]bool // keywords of the last EHLO reply
	txs        int
	tx         *transaction
}

// transaction is what a session knows between MAIL and the final dot.
type transaction struct {
	from   string
	params []string
	rcpts  []Recipient
}

// hangUp ends a session; kind says who closed.
type hangUp struct{ kind CloseKind }

func (h hangUp) Error() string { return "session ended: " + string(h.kind) }

func newSession(h *Host, info *ConnInfo, c net.Conn) *session {
	s := &session{h: h, o: &h.opts, info: info, conn: c}
	s.over(c)
	return s
}

// over puts the session on a new layer: TCP at first, TLS later. What was learnt before is forgotten (RFC 3207,
// section 4.2).
func (s *session) over(c net.Conn) {
	s.br, s.bw = bufio.NewReaderSize(c, 32<<10), bufio.NewWriterSize(c, 4096)
	s.offered = map[string]bool{}
	s.verb, s.helo, s.tx = "", "", nil
}

// run serves the connection to its end and says how it ended.
func (s *session) run() CloseKind {
	err := s.greet()
	for err == nil {
		err = s.next()
	}
	var end hangUp
	if errors.As(err, &end) {
		return end.kind
	}
	return closeKind(err)
}

func (s *session) greet() error {
	if s.o.SilentGreeting {
		return s.say(NoReply)
	}
	greeting := s.o.Greeting
	if s.o.OnConnect != nil {
		info := *s.info
		greeting = or(s.o.OnConnect(&info), greeting)
	}
	if waiting(s.conn) {
		s.h.violation(s.info.ID, "input before the greeting")
	}
	return s.say(greeting)
}

// next takes one command and answers it.
func (s *session) next() error {
	line, err := s.command()
	if err != nil {
		return err
	}
	verb, arg := verbOf(line)
	if s.o.OnOther != nil && !isTransaction(verb) {
		if r := s.o.OnOther(verb, arg, s.ask); r != "" {
			return s.say(r)
		}
	}
	return s.do(verb, arg)
}

// ask lets a hook go on with the dialogue, as AUTH needs it.
func (s *session) ask(reply string) (line string, ok bool) {
	if s.say(reply) != nil {
		return "", false
	}
	line, err := s.line()
	return line, err == nil
}

// command reads the next command line and notes it.
func (s *session) command() (string, error) {
	group := s.br.Buffered() == 0
	line, err := s.line()
	if err != nil {
		return "", err
	}
	if !s.o.CountOnly {
		s.note(line, group)
	}
	if !group && !s.offered["PIPELINING"] {
		s.h.violation(s.info.ID, "pipelining that was not offered: %q", clip(line))
	}
	return line, nil
}

func (s *session) note(line string, group bool) {
	s.h.update(func() {
		if group || len(s.info.Groups) == 0 {
			s.info.Groups = append(s.info.Groups, nil)
		}
		last := &s.info.Groups[len(s.info.Groups)-1]
		*last = append(*last, line)
		s.info.Commands = append(s.info.Commands, line)
	})
}

// line reads one line. Replies are held back while more input waits (RFC 2920, section 3.2).
func (s *session) line() (string, error) {
	if rest, _ := s.br.Peek(s.br.Buffered()); bytes.IndexByte(rest, '\n') < 0 {
		if err := s.flush(); err != nil {
			return "", err
		}
	}
	s.readLimit()
	line, bare, err := readLine(s.br)
	switch {
	case errors.Is(err, ErrLineTooLong):
		s.h.violation(s.info.ID, "%v", err)
		return "", s.say("421 4.5.2 line too long")
	case err != nil && closeKind(err) == ClosedLimit:
		return "", s.say("421 4.4.2 timeout")
	case err != nil:
		return "", err
	}
	if bare {
		s.h.violation(s.info.ID, "bare CR or LF in the command %q", clip(line))
	}
	return line, nil
}

func (s *session) readLimit() { _ = s.conn.SetReadDeadline(time.Now().Add(s.o.IdleTimeout)) }

func (s *session) flush() error {
	if s.bw.Buffered() == 0 {
		return nil
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.o.IdleTimeout))
	return s.bw.Flush()
}

// say sends a reply, or does what stands in its place. It returns an error when the session is over.
func (s *session) say(reply string) error {
	switch reply {
	case NoReply:
		return errors.Join(s.flush(), s.hold())
	case CloseNow:
		return errors.Join(s.flush(), hangUp{ClosedHere})
	case ResetNow:
		return errors.Join(s.flush(), reset(s.conn), hangUp{ClosedHere})
	}
	_, err := s.bw.WriteString(strings.TrimSuffix(reply, "\r\n") + "\r\n")
	if err == nil && strings.HasPrefix(reply, "421") {
		return errors.Join(s.flush(), hangUp{ClosedHere})
	}
	return err
}

// hold reads until the client closes and says how it did.
func (s *session) hold() error {
	_ = s.conn.SetReadDeadline(time.Time{})
	_, err := io.Copy(io.Discard, s.br)
	return hangUp{closeKind(err)}
}

// or is the hook's reply, or the usual one.
func or(hook, usual string) string {
	if hook != "" {
		return hook
	}
	return usual
}

// positive reports whether a reply is 2yz (RFC 5321, section 4.2.1).
func positive(reply string) bool { return strings.HasPrefix(reply, "2") }
