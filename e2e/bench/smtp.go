// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// session is a simple SMTP session with a relay, for what smtp-source cannot do: a recipient domain for each message,
// and the time of a single message. The content needs no dot-stuffing.
type session struct {
	conn   net.Conn
	reader *bufio.Reader
}

func openSession(address string) (*session, error) {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	s := &session{conn, bufio.NewReader(conn)}
	if err := s.expect("220"); err != nil {
		return nil, err
	}
	return s, s.say("EHLO injector.bench.test\r\n", "250")
}

func (s *session) say(command, code string) error {
	if err := s.conn.SetDeadline(time.Now().Add(callWithin)); err != nil {
		return err
	}
	if _, err := io.WriteString(s.conn, command); err != nil {
		return err
	}
	return s.expect(code)
}

func (s *session) expect(code string) error {
	for {
		line, err := s.reader.ReadString('\n')
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(line, code+"-"):
		case strings.HasPrefix(line, code):
			return nil
		default:
			return fmt.Errorf("got %q instead of %s", line, code)
		}
	}
}

func (s *session) send(from, to string, content []byte) error {
	for _, step := range [][2]string{{"MAIL FROM:<" + from + ">\r\n", "250"}, {"RCPT TO:<" + to + ">\r\n", "250"}, {"DATA\r\n", "354"}} {
		if err := s.say(step[0], step[1]); err != nil {
			return err
		}
	}
	return s.say(string(content)+".\r\n", "250")
}

func (s *session) quit() {
	_ = s.say("QUIT\r\n", "221") // it has what it was sent
	s.conn.Close()
}

// smtp submits all messages by SMTP over sessions that are kept.
func (s *submitter) smtp() error {
	sessions := make([]*session, callers)
	for i := range sessions {
		var err error
		if sessions[i], err = openSession(s.target); err != nil {
			return err
		}
		defer sessions[i].quit()
	}
	s.each(func(caller, n int) error { return sessions[caller].send(envelopeSender, s.to(n), s.content(n)) })
	return nil
}
