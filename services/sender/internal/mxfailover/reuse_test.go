// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"errors"
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/sender/internal/hostmemory"
	"github.com/postrider/postrider/services/sender/internal/pool"
	"github.com/postrider/postrider/services/sender/internal/sitelimit"
	"github.com/postrider/postrider/services/sender/internal/verdict"
	"github.com/postrider/postrider/testkit/smtptest"
)

// keeping is walking with sessions that are kept, a window of 20, and a memory of hosts. more makes a further message.
func keeping(t *testing.T, n network, hosts string, body func(w *walk, limits *sitelimit.Limiter)) {
	t.Helper()
	walking(t, n, hosts, func(w *walk) {
		w.walker.Memory = &hostmemory.Memory{}
		limits := sitelimit.New(sitelimit.Options{
			Config: func(string) sitelimit.Config { return sitelimit.Config{Connections: 20} }, Fails: w.walker.Memory.Fails,
		})
		w.walker.Pool = pool.New(limits)
		body(w, limits)
		w.walker.Pool.Close()
		synctest.Wait()
	})
}

// again makes the walk ready for a further message.
func (w *walk) again(to ...string) {
	w.opened = 0
	w.mail = mail(to...)
	w.mail.OpenBody = func() (io.ReadSeekCloser, error) {
		w.opened++
		return bodyOf(content), nil
	}
}

func takesTwo(s *smtptest.Conn) {
	s.Greet("mx", "PIPELINING")
	s.Take()
	s.Take()
	s.Quit()
}

func TestS71_OneSessionForMessagesToOneHost(t *testing.T) {
	keeping(t, network{"192.0.2.1": takesTwo}, "mx1 10 192.0.2.1", func(w *walk, _ *sitelimit.Limiter) {
		for range 2 {
			w.again("a@example.test")
			w.want(w.deliver(), "delivered", "mx1 192.0.2.1 delivered")
		}
		if len(w.dialled) != 1 {
			t.Errorf("dialled %v", w.dialled)
		}
	})
}

// A session that dies before MAIL is answered is replaced by one to the same address: one try in the record, one address
// of the budget, and the message is taken.
func TestS72_AFreshSessionForOneThatDies(t *testing.T) {
	for name, end := range map[string]smtptest.Conversation{
		"closed at MAIL":       func(s *smtptest.Conn) { s.Expect("MAIL") },
		"421 to MAIL":          func(s *smtptest.Conn) { s.Expect("MAIL"); s.Send("421 4.7.0 enough for one session\r\n"); s.Silent() },
		"closed while idle":    func(*smtptest.Conn) {},
		"421 while it is idle": func(s *smtptest.Conn) { s.Send("421 4.4.2 idle\r\n"); s.Silent() },
	} {
		for _, extensions := range [][]string{nil, {"PIPELINING"}} {
			t.Run(name+map[int]string{1: ", pipelined"}[len(extensions)], func(t *testing.T) {
				n := network{"192.0.2.1": []smtptest.Conversation{func(s *smtptest.Conn) {
					s.Greet("mx1", extensions...)
					s.Take()
					end(s)
				}, takes}}
				keeping(t, n, "mx1 10 192.0.2.1; mx2 20 192.0.2.2", func(w *walk, limits *sitelimit.Limiter) {
					w.deliver()
					w.again("a@example.test")
					w.want(w.deliver(), "delivered", "mx1 192.0.2.1 delivered")
					if len(w.dialled) != 2 {
						t.Errorf("dialled %v", w.dialled)
					}
					if limits.Window("site") < 2 {
						t.Error("held against the site")
					}
				})
			})
		}
	}
}

// Once, and only before MAIL is answered.
func TestS72_OnlyOneFreshSession(t *testing.T) {
	dies := func(command string, pairs ...string) smtptest.Conversation {
		return func(s *smtptest.Conn) {
			s.Greet("mx1")
			if command == "take" {
				s.Take()
			}
			for i := 0; i < len(pairs); i += 2 {
				s.Expect(pairs[i])
				s.Send(pairs[i+1])
			}
		}
	}
	t.Run("the fresh one dies as well", func(t *testing.T) {
		keeping(t, network{
			"192.0.2.1": []smtptest.Conversation{dies("take", "MAIL", ""), dies("", "MAIL", "")}, "192.0.2.2": takes,
		}, "mx1 10 192.0.2.1; mx2 20 192.0.2.2", func(w *walk, _ *sitelimit.Limiter) {
			w.deliver()
			w.again("a@example.test")
			w.want(w.deliver(), "delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
		})
	})
	t.Run("MAIL was answered", func(t *testing.T) {
		keeping(t, network{
			"192.0.2.1": dies("take", "MAIL", "250 ok\r\n", "RCPT", ""), "192.0.2.2": takes,
		}, "mx1 10 192.0.2.1; mx2 20 192.0.2.2", func(w *walk, _ *sitelimit.Limiter) {
			w.deliver()
			w.again("a@example.test")
			w.want(w.deliver(), "delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
		})
	})
}

// A 421 to the dot is for the message that rides behind it too: both go to the next host (S-48).
func TestS48_421ToTheDotIsForBoth(t *testing.T) {
	n := network{"192.0.2.1": func(s *smtptest.Conn) {
		time.Sleep(time.Second)
		s.Greet("mx1", "PIPELINING")
		s.Envelope()
		s.ReadData()
		time.Sleep(time.Second)
		s.Send("421 4.3.2 shutting down\r\n")
		s.Silent()
	}, "192.0.2.2": takesTwo}
	keeping(t, n, "mx1 10 192.0.2.1; mx2 20 192.0.2.2", func(w *walk, limits *sitelimit.Limiter) {
		limits.Failed("site", time.Now()) // a window of one
		outcomes := make(chan Outcome, 2)
		for range 2 {
			go func() {
				m := mail("a@example.test")
				m.OpenBody = func() (io.ReadSeekCloser, error) { return bodyOf(content), nil }
				outcomes <- w.walker.Deliver(w.t.Context(), w.route, m)
			}()
			synctest.Wait()
		}
		for range 2 {
			o := <-outcomes
			w.want(o, "delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
			if code := o.Tries[0].GetFailure().GetReply().GetCode(); code != 421 {
				t.Errorf("left with %d", code)
			}
		}
	})
}

// The message whose reply is lost is ambiguous; the one that rides was not attempted and goes out over a fresh session.
func TestS48_ALostReplyLeavesTheRiderUntouched(t *testing.T) {
	n := network{"192.0.2.1": []smtptest.Conversation{func(s *smtptest.Conn) {
		time.Sleep(time.Second)
		s.Greet("mx1", "PIPELINING")
		s.Envelope()
		s.ReadData()
	}, takes}}
	keeping(t, n, "mx1 10 192.0.2.1; mx2 20 192.0.2.2", func(w *walk, limits *sitelimit.Limiter) {
		limits.Failed("site", time.Now())
		outcomes := [2]chan Outcome{make(chan Outcome), make(chan Outcome)}
		for _, came := range outcomes {
			go func() {
				m := mail("a@example.test")
				m.OpenBody = func() (io.ReadSeekCloser, error) { return bodyOf(content), nil }
				came <- w.walker.Deliver(w.t.Context(), w.route, m)
			}()
			synctest.Wait()
		}
		w.want(<-outcomes[0], "defer 4.4.2", "mx1 192.0.2.1 defer")
		w.want(<-outcomes[1], "delivered", "mx1 192.0.2.1 delivered")
	})
}

// An address that accepted no connection, greeted nobody or closed in the content is tried last for five minutes, also by
// other messages, and first again afterwards.
func TestQ14_AHostThatFailedIsTriedLast(t *testing.T) {
	closesInContent := func(s *smtptest.Conn) {
		s.Greet("mx1")
		s.Envelope()
		s.ReadN(10)
		_ = s.NetConn().Close()
	}
	for name, there := range map[string]any{"refuses": refused, "does not answer": nil, "silent": silent, "closes": closesInContent} {
		t.Run(name, func(t *testing.T) {
			n := network{"192.0.2.2": []smtptest.Conversation{takesTwo, takes}}
			if there != nil {
				n["192.0.2.1"] = there
			}
			keeping(t, n, "mx1 10 192.0.2.1; mx2 20 192.0.2.2", func(w *walk, _ *sitelimit.Limiter) {
				w.want(w.deliver(), "delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
				w.again("a@example.test")
				w.want(w.deliver(), "delivered", "mx2 192.0.2.2 delivered")
				time.Sleep(hostmemory.Span)
				w.again("a@example.test")
				w.want(w.deliver(), "delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
			})
		})
	}
}

func TestQ14_TheHostStillGetsItsTurn(t *testing.T) {
	keeping(t, network{"192.0.2.1": takes, "192.0.2.2": refused}, "mx1 10 192.0.2.1; mx2 20 192.0.2.2", func(w *walk, _ *sitelimit.Limiter) {
		failing := netip.MustParseAddrPort("192.0.2.1:25")
		w.walker.Memory.Failed(failing)
		w.want(w.deliver(), "delivered", "mx2 192.0.2.2 next_host", "mx1 192.0.2.1 delivered")
		if w.walker.Memory.Fails(failing) {
			t.Error("it works and is still held to fail")
		}
	})
}

func TestQ14_AnAddressWithoutLocalRouteIsNotRemembered(t *testing.T) {
	keeping(t, network{"192.0.2.1": noRoute, "192.0.2.2": takes}, "mx1 10 192.0.2.1; mx2 20 192.0.2.2", func(w *walk, _ *sitelimit.Limiter) {
		w.deliver()
		if w.walker.Memory.Fails(netip.MustParseAddrPort("192.0.2.1:25")) {
			t.Error("remembered")
		}
	})
}

func TestS74_FailuresAndSuccessesMoveTheWindow(t *testing.T) {
	for name, c := range map[string]struct {
		there any
		want  int
	}{
		"taken": {takes, 2}, "refused": {refused, 1}, "silent": {silent, 1}, "421 greeting": {greets("421 busy"), 1},
		"421 to MAIL": {says("MAIL", "421 bye"), 1}, "550 to RCPT": {says("RCPT", "550 no"), 2}, "554 greeting": {greets("554 no"), 2},
	} {
		t.Run(name, func(t *testing.T) {
			keeping(t, network{"192.0.2.1": c.there}, "mx1 10 192.0.2.1", func(w *walk, limits *sitelimit.Limiter) {
				w.deliver()
				if got := limits.Window("site"); got != c.want {
					t.Errorf("window %d, want %d", got, c.want)
				}
			})
		})
	}
}

func TestS74_ABusySiteDefers(t *testing.T) {
	keeping(t, network{"192.0.2.1": func(s *smtptest.Conn) {
		s.Greet("mx1")
		s.Envelope()
		s.ReadData()
		time.Sleep(9 * time.Minute)
		s.Send("250 ok\r\n")
		s.Quit()
	}}, "mx1 10 192.0.2.1; mx2 20 192.0.2.2", func(w *walk, limits *sitelimit.Limiter) {
		limits.Failed("site", time.Now())
		first := make(chan Outcome)
		go func() {
			m := mail("a@example.test")
			m.OpenBody = func() (io.ReadSeekCloser, error) { return bodyOf(content), nil }
			first <- w.walker.Deliver(w.t.Context(), w.route, m)
		}()
		synctest.Wait()
		o := w.deliver()
		w.want(o, "defer 4.4.5", "mx1 192.0.2.1 defer")
		if r := o.Recipients[0].Failure.Reason; r != smtpreply.ReasonConnectionLimit {
			t.Errorf("reason %s", r)
		}
		w.want(<-first, "delivered", "mx1 192.0.2.1 delivered")
	})
}

// Content that cannot be opened is no reason to hold a session up, and its failure is the message's own.
func TestContentThatIsGoneWhileASessionIsKept(t *testing.T) {
	keeping(t, network{"192.0.2.1": takesTwo}, "mx1 10 192.0.2.1", func(w *walk, _ *sitelimit.Limiter) {
		w.deliver()
		w.again("a@example.test")
		gone := errors.New("gone")
		w.mail.OpenBody = func() (io.ReadSeekCloser, error) { return nil, gone }
		if o := w.deliver(); o.Recipients[0].Verdict != verdict.Defer || !errors.Is(o.BodyErr, gone) {
			t.Errorf("%v, %v", o.Recipients[0], o.BodyErr)
		}
		w.again("a@example.test")
		w.want(w.deliver(), "delivered", "mx1 192.0.2.1 delivered")
	})
}

// A session whose TLS was verified is not used without need of it, and none without TLS where there is need.
func TestS71_EachNeedHasItsSession(t *testing.T) {
	keeping(t, network{"192.0.2.1": []smtptest.Conversation{takes, func(s *smtptest.Conn) {
		s.Greet("mx1")
		s.Quit()
	}}}, "mx1 10 192.0.2.1", func(w *walk, _ *sitelimit.Limiter) {
		w.deliver()
		w.again("a@example.test")
		w.mail.TLS = tlsRequire
		w.want(w.deliver(), "defer 4.7.4", "mx1 192.0.2.1 defer")
	})
}
