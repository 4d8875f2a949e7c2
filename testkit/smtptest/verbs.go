// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// isTransaction reports whether a verb has a hook of its own.
func isTransaction(verb string) bool {
	switch verb {
	case "EHLO", "HELO", "MAIL", "RCPT", "DATA":
		return true
	}
	return false
}

// do answers one command.
func (s *session) do(verb, arg string) error {
	switch verb {
	case "EHLO", "HELO":
		return s.hello(verb, arg)
	case "MAIL":
		return s.mail(arg)
	case "RCPT":
		return s.rcpt(arg)
	case "DATA":
		return s.data()
	case "STARTTLS":
		return s.startTLS()
	case "RSET":
		s.tx = nil
		return s.say("250 2.0.0 reset")
	case "NOOP":
		return s.say("250 2.0.0 ok")
	case "VRFY":
		return s.say("252 2.5.2 cannot verify, send some mail")
	case "QUIT":
		return s.quit()
	default:
		s.h.violation(s.info.ID, "unknown command %q", clip(verb+" "+arg))
		return s.say("500 5.5.2 unknown command")
	}
}

// quit answers, ends its own half, and awaits the client's close, so that it is known how the client closed.
func (s *session) quit() error {
	err := s.say("221 2.0.0 " + s.o.Name + " closes")
	if err == nil {
		err = s.flush()
	}
	if err != nil {
		return err
	}
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	s.readLimit()
	n, err := io.Copy(io.Discard, s.br)
	if n > 0 {
		s.h.violation(s.info.ID, "%d octets after QUIT", n)
	}
	return hangUp{closeKind(err)}
}

func (s *session) hello(verb, name string) error {
	s.tx = nil
	if name == "" {
		s.h.violation(s.info.ID, "%s without a name", verb)
		return s.say("501 5.5.4 a name is needed")
	}
	reply := Reply(250, s.o.Name)
	if verb == "EHLO" {
		reply = Reply(250, append([]string{s.o.Name}, s.o.offered(s.tls != nil)...)...)
	}
	if s.o.OnHello != nil {
		reply = or(s.o.OnHello(verb, name), reply)
	}
	if positive(reply) {
		s.verb, s.helo = verb, name
		s.learn(verb, reply)
	}
	return s.say(reply)
}

// learn keeps the keywords of the reply to EHLO; HELO offers none.
func (s *session) learn(verb, reply string) {
	s.offered = map[string]bool{}
	if verb != "EHLO" {
		return
	}
	for _, l := range strings.Split(strings.TrimSuffix(reply, "\r\n"), "\r\n")[1:] {
		if len(l) > 4 {
			keyword, _, _ := strings.Cut(l[4:], " ")
			s.offered[strings.ToUpper(keyword)] = true
		}
	}
}

func (s *session) startTLS() error {
	if s.o.TLS == nil || s.tls != nil {
		return s.say("502 5.5.1 STARTTLS is not offered")
	}
	if s.br.Buffered() > 0 {
		s.h.violation(s.info.ID, "input between STARTTLS and the handshake")
	}
	err := s.say("220 2.0.0 go ahead")
	if err == nil {
		err = s.flush()
	}
	if err != nil {
		return err
	}
	_ = s.conn.SetDeadline(time.Now().Add(s.o.IdleTimeout))
	t := tls.Server(&unread{Conn: s.conn, r: s.br}, s.o.TLS)
	if err := t.Handshake(); err != nil {
		s.h.update(func() { s.info.TLSError = err.Error() })
		return err
	}
	state := t.ConnectionState()
	s.over(t)
	s.tls = &state
	s.h.update(func() { s.info.TLS = true })
	return nil
}

func (s *session) mail(arg string) error {
	addr, params, err := parsePath(arg, "FROM:")
	switch {
	case err != nil:
		s.h.violation(s.info.ID, "MAIL: %v", err)
		return s.say("501 5.5.4 " + err.Error())
	case s.verb == "":
		return s.say("503 5.5.1 EHLO first")
	case s.tx != nil:
		s.h.violation(s.info.ID, "MAIL inside a transaction")
		return s.say("503 5.5.1 nested MAIL")
	}
	s.checkParams("MAIL", params, mailParams)
	reply := "250 2.1.0 sender ok"
	if size, ok := sizeOf(params); ok && s.o.MaxSize > 0 && size > s.o.MaxSize {
		reply = "552 5.3.4 message too big"
	}
	if s.o.OnMail != nil {
		reply = or(s.o.OnMail(addr, params), reply)
	}
	if positive(reply) {
		s.tx = &transaction{from: addr, params: params}
	}
	return s.say(reply)
}

func (s *session) rcpt(arg string) error {
	addr, params, err := parsePath(arg, "TO:")
	if err == nil && addr == "" {
		err = errors.New("empty forward-path")
	}
	switch {
	case err != nil:
		s.h.violation(s.info.ID, "RCPT: %v", err)
		return s.say("501 5.5.4 " + err.Error())
	case s.tx == nil:
		return s.say("503 5.5.1 MAIL first")
	}
	s.checkParams("RCPT", params, rcptParams)
	reply := "250 2.1.5 recipient ok"
	if s.o.OnRcpt != nil {
		reply = or(s.o.OnRcpt(addr, params), reply)
	}
	if positive(reply) {
		s.tx.rcpts = append(s.tx.rcpts, Recipient{Address: addr, Params: params})
	}
	return s.say(reply)
}

// parsePath takes the argument of MAIL or RCPT apart: keyword, path in angle brackets, parameters (RFC 5321, section
// 4.1.2). A quoted local part may hold any printable octet.
func parsePath(arg, keyword string) (addr string, params []string, err error) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", nil, fmt.Errorf("want %s<path>", keyword)
	}
	rest := arg[len(keyword):]
	if !strings.HasPrefix(rest, "<") {
		return "", nil, errors.New("path without angle bracket")
	}
	quoted, end := false, -1
	for i := 1; i < len(rest) && end < 0; i++ {
		switch {
		case rest[i] == '\\' && quoted:
			i++
		case rest[i] == '"':
			quoted = !quoted
		case rest[i] == '>' && !quoted:
			end = i
		}
	}
	if end < 0 {
		return "", nil, errors.New("path does not end")
	}
	if after := rest[end+1:]; after != "" && after[0] != ' ' {
		return "", nil, errors.New("no blank after the path")
	}
	return rest[1:end], strings.Fields(rest[end+1:]), nil
}

// sizeOf is the value of the SIZE parameter (RFC 1870).
func sizeOf(params []string) (int64, bool) {
	for _, p := range params {
		if len(p) > 5 && strings.EqualFold(p[:5], "SIZE=") {
			n, err := strconv.ParseInt(p[5:], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
