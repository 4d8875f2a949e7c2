// SPDX-License-Identifier: Apache-2.0

package smtplisten

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/envelope"
	"github.com/postrider/postrider/services/gateway/internal/submit"
)

// mail is MAIL. It refuses what the envelope rules refuse about the sender.
func (ss *session) mail(argument string) {
	caller, known := ss.identity()
	switch {
	case ss.tx != nil:
		ss.wrong(503, "5.5.1", "a message is under way already")
		return
	case !known:
		ss.wrong(530, "5.7.0", "AUTH comes before MAIL")
		return
	case !caller.Has(rpc.RightSubmit):
		ss.wrong(550, "5.7.1", "the caller has no right to submit")
		return
	}
	path, params, err := parsePath(argument, "FROM:")
	tx := &transaction{envelope: &gatewayv1.Envelope{Sender: path}}
	for _, p := range params {
		if err == nil {
			err = ss.mailParam(p, tx)
		}
	}
	if err == nil && !tx.utf8 && !isASCII(path) {
		err = needsUTF8()
	}
	if err == nil {
		err = envelope.CheckSender(tx.envelope, caller, time.Now())
	}
	if err != nil {
		ss.refuse(err)
		return
	}
	ss.tx = tx
	ss.reply(250, "2.1.0", "sender OK")
}

// rcpt is RCPT.
func (ss *session) rcpt(argument string) {
	if ss.tx == nil {
		ss.wrong(503, "5.5.1", "MAIL comes before RCPT")
		return
	}
	e := ss.tx.envelope
	if len(e.GetRecipients()) >= envelope.MaxRecipients {
		ss.reply(452, "4.5.3", "no more than %d recipients in one message", envelope.MaxRecipients)
		return
	}
	path, params, err := parsePath(argument, "TO:")
	r := &gatewayv1.Recipient{Address: path}
	for _, p := range params {
		if err == nil {
			err = rcptParam(p, r)
		}
	}
	if err == nil && !ss.tx.utf8 && !isASCII(path) {
		err = needsUTF8()
	}
	if err == nil {
		err = envelope.CheckRecipient(r)
	}
	if err != nil {
		ss.refuse(err)
		return
	}
	e.Recipients = append(e.Recipients, r)
	ss.reply(250, "2.1.5", "recipient OK")
}

func needsUTF8() *refusal { return &refusal{553, "5.6.7", "the address needs SMTPUTF8"} }

// data is DATA. The answer 354 is given when the submission asks for the content, so that what can be refused before it
// is (G-13).
func (ss *session) data(ctx context.Context, argument string) {
	switch {
	case argument != "":
		ss.wrong(501, "5.5.4", "DATA has no argument")
		return
	case ss.tx == nil:
		ss.wrong(503, "5.5.1", "MAIL comes before DATA")
		return
	case len(ss.tx.envelope.GetRecipients()) == 0:
		ss.wrong(554, "5.5.1", "no valid recipients")
		return
	}
	caller, _ := ss.identity()
	tx := ss.tx
	ss.tx = nil
	src := &source{ss: ss, limit: time.Now().Add(dataLimit)}
	door := submit.Door{SMTP: true, Relayed: ss.caller.Name == "", Received: ss.received(tx)}
	accepted, err := ss.s.o.Submitter.SubmitBy(rpc.WithCaller(ctx, caller), tx.envelope, src, door)
	if src.broken(ss) {
		return
	}
	if err != nil {
		ss.refuse(err)
		return
	}
	ss.reply(250, "2.0.0", "queued as %s", accepted.GetMessageId())
}

// source gives the data of one message (content.Source).
type source struct {
	ss     *session
	reader *dataReader // nil before 354
	limit  time.Time   // for all of it
	failed error       // the connection's, or the framing's
}

// Next says 354 the first time, and returns the next piece.
func (s *source) Next() ([]byte, error) {
	if s.failed != nil {
		return nil, s.failed
	}
	if s.reader == nil {
		s.ss.reply(354, "", "end the data with <CR><LF>.<CR><LF>")
		s.ss.flush()
		s.reader = newDataReader(s.ss.r)
	}
	s.allow()
	piece, err := s.reader.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed = err
		return nil, s.answer(err)
	}
	return piece, err
}

// allow gives one piece its time.
func (s *source) allow() {
	until := time.Now().Add(s.ss.s.o.Timeout)
	if until.After(s.limit) {
		until = s.limit
	}
	s.ss.allow(until, false)
}

// broken reads what is left of the data behind a refusal. When the end of the data cannot be found, the session ends
// with a reply of its own, and broken is true.
func (s *source) broken(ss *session) bool {
	if s.reader == nil {
		return false
	}
	whole := true
	for left := ss.s.o.MaxSize; s.failed == nil && !s.reader.ended; {
		s.allow()
		piece, err := s.reader.Next()
		if err != nil && !errors.Is(err, io.EOF) {
			s.failed = err
		}
		if left -= int64(len(piece)); left < 0 {
			whole = false
			break
		}
	}
	var timeout net.Error
	switch {
	case s.failed == nil && whole:
		return false
	case s.failed == nil:
		ss.reply(552, "5.3.4", "the message is larger than the limit of %d bytes", ss.s.o.MaxSize)
	case errors.Is(s.failed, errBareData):
		ss.reply(550, "5.6.0", "the content holds a bare CR or a bare LF: lines end in CRLF")
	case ss.ending():
		ss.reply(421, "4.3.2", "%s is shutting down", ss.s.o.Node)
	case errors.As(s.failed, &timeout) && timeout.Timeout():
		ss.reply(421, "4.4.2", "%s no data came for too long", ss.s.o.Node)
	}
	ss.linger()
	ss.closing = true
	return true
}
