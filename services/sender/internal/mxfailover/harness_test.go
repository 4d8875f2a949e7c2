// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/services/sender/internal/verdict"
	"github.com/postrider/postrider/testkit/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const content = "From: <a@example.test>\r\nSubject: x\r\n\r\nhello\r\n"

// network is what lies behind the addresses of a test: a conversation for each connection, or an error of connect. An
// address that is not there swallows SYNs.
type network map[string]any

var (
	refused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	noRoute = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ENETUNREACH}
)

// walk is one run over a network.
type walk struct {
	t       *testing.T
	walker  *Walker
	mail    Mail
	route   *resolverv1.ResolveRouteResponse
	dialled []string
	opened  int
}

// walking runs body in a synctest bubble with a walker on the network.
func walking(t *testing.T, n network, hosts string, body func(w *walk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &walk{t: t, route: route(hosts)}
		var open atomic.Int64
		w.walker = &Walker{
			Hostname: "client.example.test", Timeouts: smtpclient.DefaultTimeouts(),
			Open: func(delta int) { open.Add(int64(delta)) },
			Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
				host, _, _ := net.SplitHostPort(address)
				w.dialled = append(w.dialled, host)
				switch there := n[host].(type) {
				case error:
					return nil, there
				case smtptest.Conversation:
					return w.connect(there), nil
				case func(*smtptest.Conn):
					return w.connect(there), nil
				case []smtptest.Conversation:
					n[host] = there[1:]
					return w.connect(there[0]), nil
				}
				<-ctx.Done()
				return nil, ctx.Err()
			},
		}
		w.mail = mail("a@example.test")
		w.mail.OpenBody = func() (io.ReadSeekCloser, error) {
			w.opened++
			return bodyOf(content), nil
		}
		body(w)
		if n := open.Load(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
		if w.opened > 1 {
			t.Errorf("the content was opened %d times", w.opened)
		}
	})
}

func (w *walk) connect(talk smtptest.Conversation) net.Conn {
	client, server := net.Pipe()
	w.t.Cleanup(smtptest.Script(w.t, server, talk)) // what it finds wrong at the end counts too
	return client
}

// deliver runs and checks that each recipient has a verdict of an end.
func (w *walk) deliver() Outcome {
	w.t.Helper()
	o := w.walker.Deliver(w.t.Context(), w.route, w.mail)
	for i, r := range o.Recipients {
		if (r.Verdict == verdict.Delivered) != (r.Failure == nil) {
			w.t.Errorf("recipient %d: %s with failure %v", i, r.Verdict, r.Failure)
		}
		if r.Verdict == verdict.Defer && r.Failure.RecordedStatus().Class != 4 {
			w.t.Errorf("recipient %d is deferred with %s", i, r.Failure.RecordedStatus())
		}
	}
	return o
}

// want checks the verdicts, and what was tried as "host address left_for", in order.
func (w *walk) want(o Outcome, verdicts string, tries ...string) {
	w.t.Helper()
	var got []string
	for _, r := range o.Recipients {
		word := r.Verdict.String()
		if r.Failure != nil {
			word += " " + r.Failure.RecordedStatus().String()
		}
		got = append(got, word)
	}
	if s := strings.Join(got, ", "); s != verdicts {
		w.t.Errorf("verdicts %q, want %q", s, verdicts)
		for i, r := range o.Recipients {
			w.t.Logf("recipient %d: %v", i, r.Failure)
		}
	}
	got = nil
	for _, try := range o.Tries {
		host, _, _ := net.SplitHostPort(try.GetAddress())
		got = append(got, try.GetHost()+" "+host+" "+try.GetLeftFor())
		if final := !strings.HasPrefix(try.GetLeftFor(), "next"); final && (try.GetLeftFor() == leftForDelivered) != (try.GetFailure() == nil) {
			w.t.Errorf("try %v", try)
		}
	}
	if !slices.Equal(got, tries) {
		w.t.Errorf("tries\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(tries, "\n  "))
	}
}

// route reads "mx1 10 192.0.2.1 192.0.2.2; mx2 20 192.0.2.3".
func route(text string) *resolverv1.ResolveRouteResponse {
	r := &resolverv1.ResolveRouteResponse{Domain: "example.test"}
	for part := range strings.SplitSeq(text, ";") {
		words := strings.Fields(part)
		host := &resolverv1.Host{Name: words[0], Addresses: words[2:]}
		if words[0] == "-" {
			host.Name = ""
		}
		if _, err := fmt.Sscan(words[1], &host.Preference); err != nil {
			panic(err)
		}
		r.Hosts = append(r.Hosts, host)
	}
	return r
}

func mail(to ...string) Mail {
	m := &smtpclient.Message{From: "sender@example.test", Size: int64(len(content))}
	for _, address := range to {
		m.Recipients = append(m.Recipients, smtpclient.Recipient{Address: address})
	}
	return Mail{Message: m, Site: "site"}
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

func bodyOf(text string) io.ReadSeekCloser { return memory{bytes.NewReader([]byte(text))} }

// Conversations.

func takes(s *smtptest.Conn) {
	s.Greet("mx", "PIPELINING")
	s.Take()
	s.Quit()
}

func silent(s *smtptest.Conn) { s.Silent() }

func greets(reply string) smtptest.Conversation {
	return func(s *smtptest.Conn) {
		s.Send(reply + "\r\n")
		if end := s.Silent(); end.Total != 0 && string(end.Rest) != "QUIT\r\n" {
			s.Fail("the client said %q", end.Rest)
		}
	}
}

// says holds a session with these extensions up to a command, which it answers so.
func says(command, reply string, extensions ...string) smtptest.Conversation {
	return func(s *smtptest.Conn) {
		s.Greet("mx", extensions...)
		for _, step := range []struct{ command, reply string }{
			{"MAIL", "250 ok"}, {"RCPT", "250 ok"}, {"DATA", "354 go"}, {"dot", "250 ok"},
		} {
			if step.command == "dot" {
				s.ReadData()
			} else {
				s.Expect(step.command)
			}
			if step.command == command {
				s.Send(reply + "\r\n")
				break
			}
			s.Send(step.reply + "\r\n")
		}
		if strings.HasPrefix(reply, "421") {
			s.ExpectClosed()
			return
		}
		s.Quit()
	}
}

// offers greets, offers extensions and expects nothing but QUIT.
func offers(extensions ...string) smtptest.Conversation {
	return func(s *smtptest.Conn) {
		s.Greet("mx", extensions...)
		s.Quit()
	}
}

func addresses(texts ...string) map[netip.AddrPort]bool {
	set := map[netip.AddrPort]bool{}
	for _, text := range texts {
		set[netip.AddrPortFrom(netip.MustParseAddr(text), 25)] = true
	}
	return set
}

func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
