// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"
)

// Parameters and the extension each belongs to. An empty extension means that the host cannot say.
var (
	mailParams = map[string]string{
		"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN",
		"REQUIRETLS": "REQUIRETLS", "AUTH": "AUTH",
	}
	rcptParams = map[string]string{"NOTIFY": "DSN", "ORCPT": "DSN"}
)

// checkParams notes parameters of extensions that were not offered (RFC 5321, section 2.2.1).
func (s *session) checkParams(verb string, params []string, known map[string]string) {
	for _, p := range params {
		name, _, _ := strings.Cut(p, "=")
		ext, ok := known[strings.ToUpper(name)]
		switch {
		case !ok:
			s.h.violation(s.info.ID, "%s with the unknown parameter %q", verb, clip(p))
		case !s.offered[ext]:
			s.h.violation(s.info.ID, "%s with %q, but %s was not offered", verb, clip(p), ext)
		}
	}
}

func (s *session) data() error {
	if s.tx == nil || len(s.tx.rcpts) == 0 {
		return s.say("503 5.5.1 no valid recipient")
	}
	reply := "354 end with a dot on a line of its own"
	if s.o.OnData != nil {
		reply = or(s.o.OnData(s.tx.from, slices.Clone(s.tx.rcpts)), reply)
	}
	err := s.say(reply)
	if err != nil || !strings.HasPrefix(reply, "354") {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.txs++
	m, err := s.receive()
	if err != nil {
		return err
	}
	s.tx = nil
	reply = "250 2.0.0 queued as " + m.ID()
	if s.o.MaxSize > 0 && m.Size > s.o.MaxSize {
		reply = "552 5.3.4 message too big"
	}
	if s.o.OnDot != nil {
		reply = or(s.o.OnDot(m), reply)
	}
	if reply[0] != 0 {
		m.Reply = strings.TrimSuffix(reply, "\r\n")
	}
	s.keep(*m)
	return s.say(reply)
}

// receive reads the data of a message.
func (s *session) receive() (*Message, error) {
	m := &Message{
		Conn: s.info.ID, Transaction: s.txs, From: s.tx.from, Params: s.tx.params, Rcpts: s.tx.rcpts,
		Verb: s.verb, Helo: s.helo, TLS: s.tls,
	}
	var body bytes.Buffer
	digest := sha256.New()
	nobodyLooks := s.o.CountOnly && s.o.OnDot == nil
	spoken := s.o.DuringData == nil
	d := dataReader{br: s.br}
	d.each = func(part []byte) error {
		if !nobodyLooks {
			digest.Write(part)
			if !s.o.DiscardBody {
				body.Write(part)
			}
		}
		if s.br.Buffered() == 0 {
			s.readLimit()
		}
		if spoken {
			return nil
		}
		r := s.o.DuringData(m.From, d.size)
		if r == "" {
			return nil
		}
		spoken = true
		return errors.Join(s.say(r), s.flush())
	}
	s.readLimit()
	err := d.read()
	switch {
	case errors.Is(err, ErrDataTooLong):
		return nil, s.say("421 5.3.4 too much data")
	case err != nil && closeKind(err) == ClosedLimit:
		return nil, s.say("421 4.4.2 timeout")
	case err != nil:
		return nil, err
	}
	m.At, m.Size, m.Data = time.Now(), d.size, body.Bytes()
	digest.Sum(m.SHA256[:0])
	s.checkData(m, &d)
	return m, nil
}

func (s *session) checkData(m *Message, d *dataReader) {
	if d.bareCR > 0 || d.bareLF > 0 {
		s.h.violation(m.Conn, "%d bare CR and %d bare LF in the data", d.bareCR, d.bareLF)
	}
	if size, ok := sizeOf(m.Params); ok && size != d.size {
		s.h.violation(m.Conn, "SIZE=%d, but the data have %d octets", size, d.size)
	}
	declared := slices.ContainsFunc(m.Params, func(p string) bool { return strings.EqualFold(p, "BODY=8BITMIME") })
	if d.eightBit && !declared && s.offered["8BITMIME"] {
		s.h.violation(m.Conn, "8-bit data without BODY=8BITMIME")
	}
}

func (s *session) keep(m Message) {
	s.h.update(func() {
		s.info.Messages++
		list, number := &s.h.messages, &s.h.counts.Messages
		if !m.Accepted() {
			list, number = &s.h.refused, &s.h.counts.Refused
		}
		*number++
		if s.o.CountOnly {
			return
		}
		*list = append(*list, m)
		s.info.Groups = append(s.info.Groups, []string{"."})
	})
}
