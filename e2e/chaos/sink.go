// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/mail"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// slowest is the longest a dot waits for its answer, so that kills find transactions under way.
	slowest     = 40 * time.Millisecond
	sinkPatient = 5 * time.Minute
	sinkMessage = 1 << 20
)

// sink is a mail host (RFC 5321) that writes down what it is given: "id recipient" for each delivery, before it answers
// the dot. What it answers follows from the message's kind.
type sink struct {
	log io.Writer

	mu   sync.Mutex
	once map[string]bool // messages that were deferred, or left without an answer
}

// runSink serves until its standard input ends. It prints where it listens.
func runSink() int {
	log, err := os.OpenFile(os.Getenv("CHAOS_LOG"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return complain("sink", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return complain("sink", err)
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whoever started it is gone
		l.Close()
	}()
	newSink(log).serve(l)
	return 0
}

func newSink(log io.Writer) *sink { return &sink{log: log, once: map[string]bool{}} }

func (s *sink) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			s.session(c)
		}()
	}
}

// session speaks with one client until it goes.
func (s *sink) session(c net.Conn) {
	in := textproto.NewReader(bufio.NewReader(c))
	recipients := make([]string, 0, 2)
	answer := func(reply string) error {
		_ = c.SetDeadline(time.Now().Add(sinkPatient))
		_, err := io.WriteString(c, reply+"\r\n")
		return err
	}
	err := answer("220 sink.example ESMTP")
	for err == nil {
		var line string
		if line, err = in.ReadLine(); err != nil {
			return
		}
		verb, argument, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			err = answer("250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE\r\n250 ENHANCEDSTATUSCODES")
		case "MAIL", "RSET":
			recipients = recipients[:0]
			err = answer("250 2.1.0 ok")
		case "RCPT":
			// What the message is stands in its id only; a transaction takes two recipients.
			if len(recipients) == 2 {
				err = answer("452 4.5.3 too many recipients")
				continue
			}
			recipients = append(recipients, path(argument))
			err = answer("250 2.1.5 ok")
		case "DATA":
			if err = answer("354 go on"); err == nil {
				err = s.data(in, recipients, answer)
			}
			recipients = recipients[:0]
		case "QUIT":
			_ = answer("221 2.0.0 bye")
			return
		default:
			err = answer("250 2.0.0 ok")
		}
	}
}

// path is the mailbox of a RCPT command's argument.
func path(argument string) string {
	_, rest, _ := strings.Cut(argument, "<")
	address, _, _ := strings.Cut(rest, ">")
	return address
}

// data takes a message and answers its dot. An error ends the session.
func (s *sink) data(in *textproto.Reader, recipients []string, answer func(string) error) error {
	content, err := io.ReadAll(io.LimitReader(in.DotReader(), sinkMessage))
	if err != nil {
		return err
	}
	time.Sleep(rand.N(slowest)) // a host at work
	parsed, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		return answer("554 5.6.0 cannot be read")
	}
	id := strings.Trim(parsed.Header.Get("Message-Id"), "<>")
	kind, _, _ := strings.Cut(id, ".")
	switch {
	case kind == kindRefused:
		return answer("550 5.7.1 not wanted")
	case kind == kindDeferred && s.first(id):
		return answer("451 4.3.0 later")
	}
	var lines strings.Builder
	for _, r := range recipients {
		lines.WriteString(id + " " + r + "\n")
	}
	if _, err := io.WriteString(s.log, lines.String()); err != nil {
		os.Exit(complain("sink", err))
	}
	if kind == kindAmbiguous && s.first(id) {
		return io.ErrUnexpectedEOF
	}
	return answer("250 2.0.0 taken")
}

// first reports whether this is the first time a message comes here.
func (s *sink) first(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.once[id]
	s.once[id] = true
	return !known
}
