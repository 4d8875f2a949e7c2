// SPDX-License-Identifier: Apache-2.0

package smtplisten

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const (
	// maxErrors is how many commands without sense one session may send.
	maxErrors = 20
	// maxAuthFailures is how many credentials it may try.
	maxAuthFailures = 3
)

// TrustedCaller is the name in events and logs of a host that needs no AUTH.
const TrustedCaller = "smtp-trusted"

// session is one connection.
type session struct {
	*wire
	s       *Server
	peer    netip.Addr
	trusted bool

	helo     string // argument of EHLO or HELO; "" before it
	extended bool   // it was EHLO
	tls      bool
	caller   rpc.Caller // who is authenticated; the zero value for nobody
	tx       *transaction
	errors   int
	failures int
	closing  bool
}

// transaction is one message under way.
type transaction struct {
	envelope *gatewayv1.Envelope
	utf8     bool
}

func newSession(s *Server, conn net.Conn) *session {
	ss := &session{wire: newWire(conn), s: s}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		ss.peer = tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	ss.trusted = s.trusts(ss.peer)
	return ss
}

// run speaks until one side ends it.
func (ss *session) run(ctx context.Context) {
	ss.reply(220, "", "%s ESMTP Postrider", ss.s.o.Node)
	for !ss.closing {
		text, err := ss.line(ss.s.o.Timeout)
		if err != nil {
			ss.broken(err)
			break
		}
		if !ss.early() {
			ss.command(ctx, text)
		}
	}
	if ss.r.Buffered() > 0 {
		ss.linger()
	}
	ss.flush()
}

// early refuses commands that were sent before the server has said what it can: software that does so does not wait for
// answers, or is no mail software (G-11; RFC 2920, section 3.1).
func (ss *session) early() bool {
	if ss.helo != "" || ss.r.Buffered() == 0 {
		return false
	}
	ss.reply(503, "5.5.1", "no pipelining before EHLO")
	ss.closing = true
	return true
}

// broken says why a session ends that has no further command.
func (ss *session) broken(err error) {
	var timeout net.Error
	switch {
	case errors.Is(err, errLongLine):
		ss.reply(500, "5.5.2", "the line is too long")
		ss.linger()
	case errors.Is(err, errBareLine):
		ss.reply(550, "5.5.2", "lines end in CRLF and hold no bare CR, no bare LF and no NUL")
		ss.linger()
	case errors.Is(err, errStopping):
		ss.reply(421, "4.3.2", "%s is shutting down", ss.s.o.Node)
	case errors.As(err, &timeout) && timeout.Timeout():
		ss.reply(421, "4.4.2", "%s no command came for too long", ss.s.o.Node)
	default:
		ss.s.o.Log.LogAttrs(context.Background(), slog.LevelDebug, "SMTP session ended", slog.String("error", err.Error()))
	}
}

// command does one command (RFC 5321, section 4.1.1).
func (ss *session) command(ctx context.Context, text string) {
	verb, argument, _ := strings.Cut(text, " ")
	verb, argument = strings.ToUpper(verb), strings.TrimSpace(argument)
	switch verb {
	case "EHLO", "HELO":
		ss.hello(verb, argument)
	case "NOOP":
		ss.reply(250, "2.0.0", "OK")
	case "QUIT":
		ss.reply(221, "2.0.0", "%s closing", ss.s.o.Node)
		ss.closing = true
	case "RSET":
		ss.tx = nil
		ss.reply(250, "2.0.0", "OK")
	case "VRFY":
		ss.reply(252, "2.5.0", "not verified, but mail is tried")
	case "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA":
		if ss.helo == "" {
			ss.wrong(503, "5.5.1", "EHLO comes first")
			return
		}
		ss.mailCommand(ctx, verb, argument)
	default:
		ss.wrong(500, "5.5.1", "the command is not known")
	}
}

func (ss *session) mailCommand(ctx context.Context, verb, argument string) {
	switch verb {
	case "STARTTLS":
		ss.secure(ctx, argument)
	case "AUTH":
		ss.auth(argument)
	case "MAIL":
		ss.mail(argument)
	case "RCPT":
		ss.rcpt(argument)
	case "DATA":
		ss.data(ctx, argument)
	}
}

// wrong refuses a command that makes no sense, and ends the session after too many.
func (ss *session) wrong(code int, enhanced, format string, args ...any) {
	ss.reply(code, enhanced, format, args...)
	if ss.errors++; ss.errors >= maxErrors && !ss.closing {
		ss.reply(421, "4.7.0", "%s too many errors", ss.s.o.Node)
		ss.closing = true
	}
}

// hello is EHLO and HELO.
func (ss *session) hello(verb, argument string) {
	if !validHelo(argument) {
		ss.wrong(501, "5.5.4", "%s needs a domain name or an address literal", verb)
		return
	}
	ss.helo, ss.extended, ss.tx = argument, verb == "EHLO", nil
	if !ss.extended {
		ss.reply(250, "", "%s", ss.s.o.Node)
		return
	}
	ss.lines(250, append([]string{ss.s.o.Node}, ss.extensions()...))
}

func (ss *session) extensions() []string {
	list := []string{"PIPELINING", "SIZE " + itoa(ss.s.o.MaxSize), "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"}
	switch {
	case ss.s.o.TLS == nil:
	case !ss.tls:
		list = append(list, "STARTTLS")
	default:
		list = append(list, "REQUIRETLS")
		if ss.s.o.Caller != nil {
			list = append(list, "AUTH PLAIN LOGIN")
		}
	}
	return list
}

// validHelo takes what may stand in Received: a domain, or an address literal, as so many clients write it.
func validHelo(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("-_.:[]", c) < 0 {
			return false
		}
	}
	return name != "" && len(name) <= 255
}

// secure is STARTTLS (RFC 3207). Everything known of the client is forgotten.
func (ss *session) secure(ctx context.Context, argument string) {
	switch {
	case argument != "":
		ss.wrong(501, "5.5.4", "STARTTLS has no argument")
	case ss.tls:
		ss.wrong(503, "5.5.1", "TLS is on already")
	case ss.s.o.TLS == nil:
		ss.wrong(502, "5.5.1", "there is no TLS here")
	default:
		ss.reply(220, "2.0.0", "ready to start TLS")
		if err := ss.startTLS(ctx, ss.s.o.TLS); err != nil {
			ss.s.o.Log.LogAttrs(ctx, slog.LevelInfo, "SMTP client without TLS", slog.String("error", err.Error()))
			_ = ss.raw.Close()
			ss.closing = true
			return
		}
		ss.tls, ss.helo, ss.extended, ss.caller, ss.tx = true, "", false, rpc.Caller{}, nil
	}
}

// identity is who the message counts for; ok is false when AUTH is needed first.
func (ss *session) identity() (c rpc.Caller, ok bool) {
	if ss.caller.Name != "" {
		return ss.caller, true
	}
	if ss.trusted {
		return rpc.Caller{Name: TrustedCaller, Rights: []rpc.Right{rpc.RightSubmit, rpc.RightNullSender}}, true
	}
	return rpc.Caller{}, false
}
