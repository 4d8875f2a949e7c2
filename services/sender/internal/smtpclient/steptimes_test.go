// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/testkit/smtptest"
)

// Each step has its own time; replies that only drip do not extend it.
func TestS03_S04_S05_S06_S09_StepTimes(t *testing.T) {
	upTo := func(last string, then smtptest.Conversation) smtptest.Conversation {
		return func(s *smtptest.Conn) {
			s.Send("220 mx\r\n")
			for _, step := range []struct{ command, reply string }{
				{"EHLO", "250 mx\r\n"}, {"MAIL", "250 ok\r\n"}, {"RCPT", "250 ok\r\n"}, {"DATA", "354 go\r\n"},
			} {
				s.Expect(step.command)
				if step.command == last {
					then(s)
					return
				}
				s.Send(step.reply)
			}
			s.ReadData()
			then(s)
		}
	}
	silent := func(s *smtptest.Conn) { s.Silent() }
	drip := func(s *smtptest.Conn) { s.Drip("250-"+strings.Repeat("x", 3000)+"\r\n", 7*time.Second) }
	for _, c := range []struct {
		step   string
		want   time.Duration
		stage  smtpreply.Stage
		reason smtpreply.Reason
	}{
		{"EHLO", 5 * time.Minute, smtpreply.StageEhlo, smtpreply.ReasonTimeout},
		{"MAIL", 5 * time.Minute, smtpreply.StageMail, smtpreply.ReasonTimeout},
		{"RCPT", 5 * time.Minute, smtpreply.StageRcpt, smtpreply.ReasonTimeout},
		{"DATA", 2 * time.Minute, smtpreply.StageData, smtpreply.ReasonTimeout},
		{"dot", 10 * time.Minute, smtpreply.StageDot, smtpreply.ReasonAmbiguous},
	} {
		for how, then := range map[string]smtptest.Conversation{"silent": silent, "drip": drip} {
			t.Run(c.step+" "+how, func(t *testing.T) {
				piped(t, func(t *testing.T, o Options) {
					start := time.Now()
					conn, fail := Dial(t.Context(), o)
					if fail == nil {
						fail = conn.Send(t.Context(), newMessage(body, "a@example.test")).Recipients[0].Failure
					}
					took := time.Since(start)
					conn.Quit()
					check(t, fail, c.stage, c.reason, "4.4.2")
					if took != c.want {
						t.Errorf("given up after %s, want %s", took, c.want)
					}
				}, upTo(c.step, then))
			})
		}
	}
}

// A host that answers each RCPT just before its time is over holds the connection for half an hour, not for eight hours.
func TestS05_AllRepliesOfAnEnvelopeHaveATimeInAll(t *testing.T) {
	var addresses []string
	for i := range 100 {
		addresses = append(addresses, fmt.Sprintf("r%d@example.test", i))
	}
	slow := func(s *smtptest.Conn) {
		for answered := 0; ; answered++ {
			if answered == 0 || !pipelined(s) {
				if _, err := s.TryReadLine(); err != nil {
					return
				}
			}
			time.Sleep(4*time.Minute + 50*time.Second)
			if s.TrySend("250 ok\r\n") != nil {
				return
			}
		}
	}
	for _, extensions := range [][]string{{"PIPELINING"}, nil} {
		t.Run(strings.Join(extensions, ""), func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				conn := mustDial(t, o)
				var r *Result
				took := elapsed(func() { r = conn.Send(t.Context(), newMessage(body, addresses...)) })
				check(t, r.Recipients[99].Failure, smtpreply.StageRcpt, smtpreply.ReasonTimeout, "4.4.2")
				check(t, r.Recipients[0].Failure, smtpreply.StageRcpt, smtpreply.ReasonTimeout, "4.4.2")
				if took < 12*time.Minute || took > 30*time.Minute {
					t.Errorf("given up after %s", took)
				}
			}, func(s *smtptest.Conn) {
				s.Greet(mxName, extensions...)
				slow(s)
			})
		})
	}
}

// Many recipients at a host of ordinary slowness are no reason to give it up.
func TestS05_OrdinarySlownessIsAwaited(t *testing.T) {
	var addresses []string
	for i := range 100 {
		addresses = append(addresses, fmt.Sprintf("r%d@example.test", i))
	}
	piped(t, func(t *testing.T, o Options) {
		conn := mustDial(t, o)
		r := conn.Send(t.Context(), newMessage(body, addresses...))
		wantCodes(t, r, strings.TrimSuffix(strings.Repeat("taken ", 100), " "))
		conn.Quit()
	}, func(s *smtptest.Conn) {
		s.Greet(mxName)
		s.Expect("MAIL")
		time.Sleep(4 * time.Minute)
		s.Send("250 ok\r\n")
		for i := range 100 {
			s.Expect("RCPT")
			time.Sleep(9 * time.Second)
			if i == 50 {
				time.Sleep(4 * time.Minute)
			}
			s.Send("250 ok\r\n")
		}
		s.Expect("DATA")
		s.Send("354 go\r\n")
		s.ReadData()
		s.Send("250 ok\r\n")
		s.Quit()
	})
}

func TestS03_TimesOfSTARTTLS(t *testing.T) {
	t.Run("reply", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			took := elapsed(func() { failDial(t, o, smtpreply.StageStartTLS, smtpreply.ReasonTimeout, "4.4.2") })
			if took != 5*time.Minute {
				t.Errorf("given up after %s", took)
			}
		}, func(s *smtptest.Conn) {
			s.Greet("mx", "STARTTLS")
			s.Expect("STARTTLS")
			s.Silent()
		})
	})
	t.Run("handshake", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			o.TLS = TLSPolicy{Mode: TLSRequire, Word: "require"}
			took := elapsed(func() { failDial(t, o, smtpreply.StageTLS, smtpreply.ReasonTLSFailed, "4.7.5") })
			if took != time.Minute {
				t.Errorf("given up after %s", took)
			}
		}, func(s *smtptest.Conn) {
			s.Greet("mx", "STARTTLS")
			s.Expect("STARTTLS")
			s.Send("220 go\r\n")
			s.Silent()
		})
	})
}

// A host that takes nothing of the content for three minutes is left (S-07), over net.Pipe, where nothing is buffered.
func TestS07_NoWriteProgress(t *testing.T) {
	content := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 2000)
	for taken, name := range map[int]string{0: "at once", 50_000: "after a part"} {
		t.Run(name, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				c := mustDial(t, o)
				took := elapsed(func() {
					r := c.Send(t.Context(), newMessage(content, "a@example.test"))
					check(t, r.Recipients[0].Failure, smtpreply.StageContent, smtpreply.ReasonTimeout, "4.4.2")
				})
				if took < 3*time.Minute || took > 3*time.Minute+45*time.Second {
					t.Errorf("given up after %s", took)
				}
			}, func(s *smtptest.Conn) {
				s.Greet("mx")
				s.Envelope()
				s.ReadN(taken)
				time.Sleep(time.Hour)
			})
		})
	}
}

func TestS07_SlowProgressIsProgress(t *testing.T) {
	content := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 2000)
	piped(t, func(t *testing.T, o Options) {
		o.Timeouts.MinDataRate = 1
		c := mustDial(t, o)
		took := elapsed(func() { wantCodes(t, c.Send(t.Context(), newMessage(content, "a@example.test")), "taken") })
		if took < 20*time.Minute {
			t.Errorf("took only %s", took)
		}
		c.Quit()
	}, func(s *smtptest.Conn) {
		s.Greet("mx")
		s.Envelope()
		for range 10 { // in all well beyond three minutes
			time.Sleep(150 * time.Second)
			if _, err := io.ReadFull(s.NetConn(), make([]byte, 10_000)); err != nil { // past the buffer of s
				s.Fail("%v", err)
			}
		}
		s.ReadData()
		s.Send("250 ok\r\n")
		s.Quit()
	})
}

func TestS08_ContentHasATimeInAll(t *testing.T) {
	content := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 2000) // 144,000 octets: 3 min + 17.6 s
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		took := elapsed(func() {
			r := c.Send(t.Context(), newMessage(content, "a@example.test"))
			check(t, r.Recipients[0].Failure, smtpreply.StageContent, smtpreply.ReasonTimeout, "4.4.2")
		})
		want := 3*time.Minute + time.Duration(float64(len(content))/8192*float64(time.Second))
		if took < want || took > want+2*time.Second {
			t.Errorf("given up after %s, want %s", took, want)
		}
	}, func(s *smtptest.Conn) {
		s.Greet("mx")
		s.Envelope()
		for { // always some progress, never enough
			time.Sleep(30 * time.Second)
			if s.Discard(1000) < 1000 {
				return
			}
		}
	})
	t.Run("two hours at most", func(t *testing.T) {
		times := DefaultTimeouts()
		if got := times.content(10 << 30); got != 2*time.Hour {
			t.Errorf("got %s", got)
		}
		if got, want := times.content(8<<20), 3*time.Minute+1024*time.Second; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestS10_QuitIsNotAwaited(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		if took := elapsed(c.Quit); took > quitTime {
			t.Errorf("took %s", took)
		}
	}, func(s *smtptest.Conn) {
		s.Greet("mx")
		time.Sleep(time.Hour) // reads nothing more
	})
}

func TestS10_RsetHasItsTime(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "550")
		took := elapsed(func() {
			r := c.Send(t.Context(), newMessage(body, "b@example.test"))
			check(t, r.Recipients[0].Failure, smtpreply.StageRset, smtpreply.ReasonTimeout, "4.4.2")
		})
		if took != 20*time.Second {
			t.Errorf("given up after %s", took)
		}
	}, func(s *smtptest.Conn) {
		s.Greet("mx")
		s.Expect("MAIL")
		s.Send("250 ok\r\n")
		s.Expect("RCPT")
		s.Send("550 no\r\n")
		s.Expect("RSET")
		s.Silent()
	})
}

func TestTimeoutsValidate(t *testing.T) {
	good := DefaultTimeouts()
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	bad := good
	bad.Dot, bad.MinDataRate = 0, 0
	err := bad.Validate()
	if err == nil || !strings.Contains(err.Error(), "sender.timeouts.dot") || !strings.Contains(err.Error(), "sender.min_data_rate") {
		t.Errorf("got %v", err)
	}
}
