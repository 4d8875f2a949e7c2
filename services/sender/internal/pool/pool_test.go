// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/testkit/smtptest"
)

// takes greets and takes n messages, each after the reply to the one before, then expects QUIT.
func takes(n int, extensions ...string) smtptest.Conversation {
	return func(s *smtptest.Conn) {
		s.Greet("mx", extensions...)
		for range n {
			s.Take()
		}
		s.Quit()
	}
}

func TestS71_ASessionIsUsedAgain(t *testing.T) {
	pooled(t, 2, func(b *bench) {
		for i, to := range []string{"a@x.test", "b@x.test", "c@x.test"} {
			if kept := b.deliver(to); kept != (i > 0) {
				t.Errorf("message %d: kept %t", i+1, kept)
			}
			time.Sleep(4 * time.Second) // idle, but not for too long
		}
	}, takes(3))
}

func TestS71_IdleSessionsEnd(t *testing.T) {
	pooled(t, 2, func(b *bench) {
		b.deliver("a@x.test")
		time.Sleep(5*time.Second - time.Millisecond)
		if n := b.open.Load(); n != 1 {
			t.Errorf("%d connections are open before the time", n)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if n := b.open.Load(); n != 0 {
			t.Errorf("%d connections are open after 5 s", n)
		}
		if b.deliver("b@x.test") {
			t.Error("a session that was ended is used")
		}
	}, takes(1), takes(1))
}

func TestS71_MessagesOfASession(t *testing.T) {
	for name, c := range map[string]struct {
		extensions []string
		most       int
	}{"usual": {nil, 100}, "MAILMAX": {[]string{"LIMITS MAILMAX=3"}, 3}, "larger MAILMAX": {[]string{"LIMITS MAILMAX=500"}, 100}} {
		t.Run(name, func(t *testing.T) {
			pooled(t, 2, func(b *bench) {
				for i := range c.most + 1 {
					if kept := b.deliver("a@x.test"); kept != (i > 0 && i < c.most) {
						t.Fatalf("message %d: kept %t", i+1, kept)
					}
				}
			}, takes(c.most, c.extensions...), takes(1, c.extensions...))
		})
	}
}

func TestS71_AgeOfASession(t *testing.T) {
	pooled(t, 2, func(b *bench) {
		for i := range 76 { // 4 s apart: the 76th after 5 min
			if kept := b.deliver("a@x.test"); kept != (i > 0 && i < 75) {
				t.Fatalf("message %d: kept %t", i+1, kept)
			}
			time.Sleep(4 * time.Second)
		}
	}, takes(75), takes(1))
}

// What the host says or does while the session is idle ends it, at once.
func TestS71_InputWhileIdleEndsTheSession(t *testing.T) {
	for name, event := range map[string]smtptest.Conversation{
		"FIN": func(*smtptest.Conn) {}, "421": func(s *smtptest.Conn) { s.Send("421 4.4.2 idle for too long\r\n"); s.ExpectClosed() },
		"part of a reply": func(s *smtptest.Conn) { s.Send("421 4.4"); s.ExpectClosed() },
	} {
		t.Run(name, func(t *testing.T) {
			pooled(t, 2, func(b *bench) {
				b.deliver("a@x.test")
				time.Sleep(time.Second)
				synctest.Wait()
				if n := b.open.Load(); n != 0 {
					t.Errorf("%d connections are open", n)
				}
				if b.deliver("b@x.test") {
					t.Error("a dead session is used")
				}
				if b.limits.failed != 0 {
					t.Error("the end of an idle session is held against the site")
				}
			}, func(s *smtptest.Conn) {
				s.Greet("mx")
				s.Take()
				time.Sleep(time.Second)
				event(s)
			}, takes(1))
		})
	}
}

func TestS71_OnlyForWhatIsAlike(t *testing.T) {
	b := &bench{t: t}
	base := b.options(first)
	seen := map[Key]string{KeyOf(&base): "base"}
	for name, change := range map[string]func(*smtpclient.Options){
		"address":    func(o *smtpclient.Options) { o.Address = second },
		"source":     func(o *smtpclient.Options) { o.Source = second.Addr() },
		"own name":   func(o *smtpclient.Options) { o.OwnName = "mx.example.test" },
		"no TLS":     func(o *smtpclient.Options) { o.TLS.Mode = smtpclient.TLSOff },
		"required":   func(o *smtpclient.Options) { o.TLS.Mode = smtpclient.TLSRequire },
		"policy":     func(o *smtpclient.Options) { o.TLS.Word = "other" },
		"message":    func(o *smtpclient.Options) { o.TLS.ForMessage = true },
		"SNI":        func(o *smtpclient.Options) { o.TLS.ServerName = "mx.example.test" },
		"verified":   func(o *smtpclient.Options) { o.TLS.Mode, o.TLS.Names = smtpclient.TLSVerify, []string{"a.test"} },
		"other name": func(o *smtpclient.Options) { o.TLS.Mode, o.TLS.Names = smtpclient.TLSVerify, []string{"b.test"} },
		"DANE": func(o *smtpclient.Options) {
			o.TLS.Mode, o.TLS.TLSA = smtpclient.TLSDane, []smtpclient.TLSA{{Usage: 3}}
		},
		"DANE, other": func(o *smtpclient.Options) {
			o.TLS.Mode, o.TLS.TLSA = smtpclient.TLSDane, []smtpclient.TLSA{{Usage: 2}}
		},
		"credentials": func(o *smtpclient.Options) { o.Auth = &smtpclient.Auth{}; o.Auth.Credentials.Username = "u" },
		"password": func(o *smtpclient.Options) {
			o.Auth = &smtpclient.Auth{}
			o.Auth.Credentials.Username, o.Auth.Credentials.Password = "u", "p"
		},
		"insecure AUTH": func(o *smtpclient.Options) {
			o.Auth = &smtpclient.Auth{Insecure: true}
			o.Auth.Credentials.Username = "u"
		},
	} {
		o := b.options(first)
		change(&o)
		if other := seen[KeyOf(&o)]; other != "" {
			t.Errorf("%s is taken for %s", name, other)
		}
		seen[KeyOf(&o)] = name
	}
	o := b.options(first)
	o.LastCandidate = true // says nothing of the session
	if KeyOf(&o) != KeyOf(&base) {
		t.Error("the greeting's time makes another kind of session")
	}
}

// Messages that wait for a session go out behind the one before, in the same write.
func TestS48_TheNextEnvelopeRidesWithTheDot(t *testing.T) {
	var behind []int
	pooled(t, 1, func(b *bench) {
		var all sync.WaitGroup
		for _, to := range []string{"a@x.test", "b@x.test", "c@x.test"} {
			all.Go(func() { b.deliver(to) })
			synctest.Wait()
		}
		all.Wait()
		if len(behind) != 3 || behind[0] == 0 || behind[1] == 0 || behind[2] != 0 {
			t.Errorf("octets behind the dots: %v", behind)
		}
	}, func(s *smtptest.Conn) {
		time.Sleep(time.Second) // until all wait
		s.Greet("mx", "PIPELINING")
		for range 3 {
			s.Envelope()
			if message, _ := s.ReadData(); string(message) != content {
				s.Fail("message %q", message)
			}
			behind = append(behind, s.Buffered())
			s.Send("250 2.0.0 queued\r\n")
		}
		s.Quit()
	})
}

// Where PIPELINING is not offered the session is handed on after the reply.
func TestS48_NothingRidesWithoutPIPELINING(t *testing.T) {
	pooled(t, 1, func(b *bench) {
		var all sync.WaitGroup
		for _, to := range []string{"a@x.test", "b@x.test"} {
			all.Go(func() { b.deliver(to) })
			synctest.Wait()
		}
		all.Wait()
	}, func(s *smtptest.Conn) {
		time.Sleep(time.Second)
		s.Greet("mx")
		for range 2 {
			s.Envelope()
			s.ReadData()
			if n := s.Buffered(); n > 0 {
				s.Fail("%d octets behind the dot", n)
			}
			s.Send("250 2.0.0 queued\r\n")
		}
		s.Quit()
	})
}

// What becomes of the message that rides when the reply to the dot before it is not a good one.
func TestS48_WhatTheReplyToTheDotMeansForTheRider(t *testing.T) {
	for name, c := range map[string]struct {
		reply  string
		first  string // reason or code of the first message
		second string // of the second; "taken", or "fresh": leave to open another session
	}{
		"refused":                 {"554 5.7.1 no\r\n", "554", "taken"},
		"refused for now":         {"451 4.3.0 later\r\n", "451", "taken"},
		"421":                     {"421 4.3.2 shutting down\r\n", "421", "421"},
		"lost":                    {"", "ambiguous", "fresh"},
		"no reply":                {"nonsense\r\n", "ambiguous", "fresh"},
		"cut reply":               {"250 2.0", "ambiguous", "fresh"},
		"good, then 421 to MAIL":  {"250 2.0.0 ok\r\n421 enough\r\n", "taken", "untouched"},
		"good, then lost":         {"250 2.0.0 ok\r\n", "taken", "untouched"},
		"refused, and then a 503": {"554 5.7.1 no\r\n503 5.5.1 nested MAIL\r\n", "554", "untouched"},
	} {
		t.Run(name, func(t *testing.T) {
			pooled(t, 1, func(b *bench) {
				one, two := message("a@x.test"), message("b@x.test")
				got := make(chan string, 1)
				l := b.acquire(one)
				go func() { got <- b.ride(two) }()
				synctest.Wait()
				if came := word(b.send(l, one)); came != c.first {
					t.Errorf("the first: %s, want %s", came, c.first)
				}
				if came := <-got; came != c.second {
					t.Errorf("the second: %s, want %s", came, c.second)
				}
			}, func(s *smtptest.Conn) {
				s.Greet("mx", "PIPELINING")
				s.Envelope()
				s.ReadData()
				if s.Buffered() == 0 {
					s.Fail("nothing behind the dot")
				}
				s.Send(c.reply)
				switch c.second {
				case "taken":
					s.Take()
					s.Quit()
				case "421":
					s.Silent()
				case "untouched":
					s.Expect("MAIL")
				}
			})
		})
	}
}

// ride waits for a session and tells what came of it.
func (b *bench) ride(m *smtpclient.Message) string {
	o := b.options(first)
	l, err := b.pool.Acquire(b.t.Context(), Request{
		Site: "site", Key: KeyOf(&o), Message: func() *smtpclient.Message { return m },
	})
	if dismissal, ok := errors.AsType[*Dismissal](err); ok {
		return dismissal.Failure.Reply().String()[:3]
	}
	switch {
	case err != nil:
		return err.Error()
	case l.Conn == nil:
		l.Release(Used)
		return "fresh"
	}
	return word(b.send(l, m))
}

func word(r *smtpclient.Result) string {
	switch fail := r.Recipients[0].Failure; {
	case fail == nil:
		return "taken"
	case r.Untouched:
		return "untouched"
	case fail.Code != 0:
		return fail.Reply().String()[:3]
	default:
		return string(fail.Reason)
	}
}

// A host that takes all of content, dot and riding commands before it says a word is answered for each of them; one whose
// window shuts between the dot and what rides has taken the message all the same.
func TestS48_TheWindowShutsBehindTheDot(t *testing.T) {
	pooled(t, 1, func(b *bench) {
		one, two := message("a@x.test"), message("b@x.test")
		got := make(chan string, 1)
		l := b.acquire(one)
		go func() { got <- b.ride(two) }()
		synctest.Wait()
		if came := word(b.send(l, one)); came != "taken" {
			t.Errorf("the first: %s", came)
		}
		if came := <-got; came != "taken" {
			t.Errorf("the second: %s", came)
		}
	}, func(s *smtptest.Conn) {
		s.Greet("mx", "PIPELINING")
		s.Envelope()
		buf := make([]byte, len(content)+len(".\r\n"))
		for n := 0; n < len(buf); { // to the dot and no further: net.Pipe holds nothing
			m, err := s.NetConn().Read(buf[n:])
			if err != nil {
				s.Fail("%v", err)
			}
			n += m
		}
		s.Send("250 2.0.0 queued\r\n")
		time.Sleep(time.Second)
		s.Take()
		s.Quit()
	})
}

func TestS48_ARiderThatGivesUpLeavesTheSessionBehind(t *testing.T) {
	pooled(t, 1, func(b *bench) {
		one, two := message("a@x.test"), message("b@x.test")
		l := b.acquire(one)
		ctx, cancel := context.WithCancel(b.t.Context())
		left := make(chan error, 1)
		go func() {
			o := b.options(first)
			_, err := b.pool.Acquire(ctx, Request{Site: "site", Key: KeyOf(&o), Message: func() *smtpclient.Message { return two }})
			left <- err
		}()
		synctest.Wait()
		time.AfterFunc(time.Second, cancel)
		if came := word(b.send(l, one)); came != "taken" {
			t.Errorf("the first: %s", came)
		}
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the second: %v", err)
		}
	}, func(s *smtptest.Conn) {
		s.Greet("mx", "PIPELINING")
		s.Envelope()
		s.ReadData()
		time.Sleep(2 * time.Second)
		s.Send("250 2.0.0 queued\r\n")
		_ = s.TrySend("250 ok\r\n250 ok\r\n354 go\r\n") // never followed by content
		if end := s.Silent(); bytes.Contains(end.Rest, []byte("Subject")) {
			s.Fail("the client sent %q", end.Rest)
		}
	})
}

func TestS74_TheWindowBoundsConnections(t *testing.T) {
	pooled(t, 2, func(b *bench) {
		one, two := b.acquire(nil), b.acquire(nil)
		got := make(chan *Lease)
		go func() { got <- b.acquire(nil) }()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("a third connection")
		default:
		}
		one.Release(Used) // goes to the one that waits
		three := <-got
		if !three.Kept || b.open.Load() != 2 {
			t.Errorf("kept %t, %d connections", three.Kept, b.open.Load())
		}
		two.Release(Used)
		three.Release(Used)
	}, takes(0), takes(0))
}

// "A site gets one more connection only when its lane holds more mails than it has idle connections."
func TestS74_NoConnectionIsOpenedWhileOneIsIdle(t *testing.T) {
	pooled(t, 20, func(b *bench) {
		for range 10 {
			b.deliver("a@x.test")
		}
		one, two := b.acquire(nil), b.acquire(nil) // two at once: one more
		one.Release(Used)
		two.Release(Used)
	}, takes(10), takes(0))
}

func TestS74_ABusySiteIsWaitedForFiveMinutes(t *testing.T) {
	pooled(t, 1, func(b *bench) {
		l := b.acquire(nil)
		began := time.Now()
		o := b.options(first)
		if _, err := b.pool.Acquire(b.t.Context(), Request{Site: "site", Key: KeyOf(&o)}); !errors.Is(err, ErrBusy) {
			t.Errorf("Acquire: %v", err)
		}
		if took := time.Since(began); took != 5*time.Minute {
			t.Errorf("after %s", took)
		}
		l.Release(Used)
	}, takes(0))
}

func TestS74_TwoConnectionsToAHostThatHasFailed(t *testing.T) {
	pooled(t, 20, func(b *bench) {
		b.limits.host = 2
		one, two := b.acquire(nil), b.acquire(nil)
		other := b.acquireAt(second, nil) // of the same site
		got := make(chan *Lease)
		go func() { got <- b.acquire(nil) }()
		synctest.Wait()
		if n := b.open.Load(); n != 3 {
			t.Errorf("%d connections", n)
		}
		two.Release(Used)
		three := <-got
		for _, l := range []*Lease{one, other, three} {
			l.Release(Used)
		}
	}, takes(0), takes(0), takes(0))
}

// An idle session with one host of the site makes room for one with another.
func TestS74_AnIdleSessionMakesRoomForAnotherHost(t *testing.T) {
	pooled(t, 1, func(b *bench) {
		b.deliver("a@x.test")
		l := b.acquireAt(second, nil)
		if b.open.Load() != 1 {
			t.Errorf("%d connections", b.open.Load())
		}
		l.Release(Used)
	}, takes(1), takes(0))
}

// Who waits for another host gets leave when a session ends that is of no use to it.
func TestS74_WhoWaitsForAnotherHostIsServed(t *testing.T) {
	pooled(t, 1, func(b *bench) {
		l := b.acquire(nil)
		got := make(chan *Lease)
		go func() { got <- b.acquireAt(second, nil) }()
		synctest.Wait()
		l.Release(Used)
		(<-got).Release(Used)
	}, takes(0), takes(0))
}

func TestS74_WhatTheSiteIsToldOf(t *testing.T) {
	pooled(t, 3, func(b *bench) {
		b.deliver("a@x.test")
		b.acquire(nil).Release(Used)
		b.acquire(nil).Release(Failed)
		if got := b.limits; len(got.succeeded) != 1 || got.succeeded[0] != 1 || got.failed != 1 {
			t.Errorf("succeeded %v, failed %d", got.succeeded, got.failed)
		}
	}, takes(1))
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	pooled(t, 1, func(b *bench) {
		l := b.acquire(nil)
		ctx, cancel := context.WithCancelCause(b.t.Context())
		stop := errors.New("stop")
		time.AfterFunc(time.Second, func() { cancel(stop) })
		o := b.options(first)
		if _, err := b.pool.Acquire(ctx, Request{Site: "site", Key: KeyOf(&o)}); !errors.Is(err, stop) {
			t.Errorf("Acquire: %v", err)
		}
		l.Release(Used)
	}, takes(0))
}

func TestWithoutAPoolEachMessageHasItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, limits: &limits{}, talks: []smtptest.Conversation{takes(1), takes(1)}}
		for range 2 {
			if b.deliver("a@x.test") {
				t.Error("kept")
			}
		}
		if n := b.open.Load(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

func TestAClosedPoolKeepsNothing(t *testing.T) {
	pooled(t, 1, func(b *bench) {
		l := b.acquire(nil)
		b.pool.Close()
		l.Release(Used)
		if n := b.open.Load(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	}, takes(0))
}
