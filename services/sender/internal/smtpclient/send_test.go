// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/testkit/smtptest"
)

// sending is a test of one Send against one conversation, pipelined and not. The conversation begins behind the EHLO
// reply.
func sending(t *testing.T, m func() *Message, talk smtptest.Conversation, want func(t *testing.T, c *Conn, r *Result)) {
	t.Helper()
	for _, extensions := range [][]string{{"PIPELINING", "8BITMIME"}, {"8BITMIME"}} {
		t.Run(extensions[0], func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				c := mustDial(t, o)
				want(t, c, c.Send(t.Context(), m()))
				c.Quit()
			}, func(s *smtptest.Conn) {
				s.Greet(mxName, extensions...)
				talk(s)
			})
		})
	}
}

// answers replies to each of several commands and takes their pipelined successors as they come.
func answers(s *smtptest.Conn, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		s.Expect(pairs[i])
		s.Send(pairs[i+1] + "\r\n")
	}
}

// pipelined reports that the host of the conversation has offered PIPELINING.
func pipelined(s *smtptest.Conn) bool { return strings.Contains(s.Transcript(), "PIPELINING") }

func to(addresses ...string) func() *Message {
	return func() *Message { return newMessage(body, addresses...) }
}

func TestS61_TakenByTheReplyToTheDot(t *testing.T) {
	sending(t, to("a@example.test", "b@example.test"), func(s *smtptest.Conn) {
		if got := s.Take(); string(got) != body {
			s.Fail("message %q", got)
		}
		s.Quit()
	}, func(t *testing.T, c *Conn, r *Result) {
		wantCodes(t, r, "taken taken")
		if got := r.Recipients[1].Reply.String(); got != "250 2.0.0 queued" {
			t.Errorf("reply %q", got)
		}
		if !c.Usable() || c.Messages() != 1 || r.ContentWritten != int64(len(body)+3) {
			t.Errorf("usable %t, messages %d, written %d", c.Usable(), c.Messages(), r.ContentWritten)
		}
		if lines := strings.Join(c.Transcript(), "\n"); strings.Contains(lines, "MAIL") {
			t.Errorf("a good transaction is told:\n%s", lines)
		}
	})
}

func TestS61_OneReplyToTheDotIsRead(t *testing.T) {
	sending(t, to("a@example.test"), func(s *smtptest.Conn) {
		s.Envelope()
		s.ReadData()
		s.Send("250 2.0.0 queued\r\n250 2.0.0 queued again\r\n")
		s.ExpectClosed()
	}, func(t *testing.T, c *Conn, r *Result) {
		wantCodes(t, r, "taken")
		if c.Usable() {
			t.Error("usable out of step (S-32)")
		}
	})
}

func TestS33_421EndsTheSessionForWhoIsNotAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		talk smtptest.Conversation
		want string
	}{
		"MAIL": {func(s *smtptest.Conn) { answers(s, "MAIL", "421 4.3.2 down") }, "421 421"},
		"second RCPT": {func(s *smtptest.Conn) {
			answers(s, "MAIL", "250 ok", "RCPT", "550 5.1.1 no", "RCPT", "421 4.3.2 down")
		}, "550 421"},
		"DATA": {func(s *smtptest.Conn) {
			answers(s, "MAIL", "250 ok", "RCPT", "550 5.1.1 no", "RCPT", "250 ok", "DATA", "421 4.3.2 down")
		}, "550 421"},
		"dot": {func(s *smtptest.Conn) {
			answers(s, "MAIL", "250 ok", "RCPT", "550 5.1.1 no", "RCPT", "250 ok", "DATA", "354 go")
			s.ReadData()
			s.Send("421 4.3.2 down\r\n")
		}, "550 421"},
	} {
		t.Run(name, func(t *testing.T) {
			sending(t, to("a@example.test", "b@example.test"), c.talk, func(t *testing.T, conn *Conn, r *Result) {
				wantCodes(t, r, c.want)
				if got := r.Recipients[1].Failure.RecordedStatus().String(); got != "4.3.2" {
					t.Errorf("status %s", got)
				}
				if conn.Usable() {
					t.Error("still usable")
				}
			})
		})
	}
}

func TestS33_421BetweenTwoCommands(t *testing.T) {
	sending(t, to("a@example.test", "b@example.test"), func(s *smtptest.Conn) {
		answers(s, "MAIL", "250 ok", "RCPT", "550 no")
		if pipelined(s) {
			s.Expect("RCPT")
		}
		s.Send("421 4.3.2 idle too long\r\n")
	}, func(t *testing.T, _ *Conn, r *Result) { wantCodes(t, r, "550 421") })
}

func TestS34_LostConnectionIsTemporary(t *testing.T) {
	for name, c := range map[string]struct {
		talk  smtptest.Conversation
		stage smtpreply.Stage
		want  string
	}{
		"at MAIL": {func(s *smtptest.Conn) { s.Expect("MAIL") }, smtpreply.StageMail, "connection_lost connection_lost"},
		"at RCPT": {func(s *smtptest.Conn) {
			answers(s, "MAIL", "250 ok", "RCPT", "250 ok")
			s.Expect("RCPT")
		}, smtpreply.StageRcpt, "connection_lost connection_lost"},
		"in a reply": {func(s *smtptest.Conn) {
			answers(s, "MAIL", "250 ok", "RCPT", "250 ok")
			s.Expect("RCPT")
			s.Send("550 5.1.")
		}, smtpreply.StageRcpt, "connection_lost connection_lost"},
		"at DATA": {func(s *smtptest.Conn) {
			answers(s, "MAIL", "250 ok", "RCPT", "250 ok", "RCPT", "451 later")
			s.Expect("DATA")
		}, smtpreply.StageData, "connection_lost 451"},
	} {
		t.Run(name, func(t *testing.T) {
			talk := func(s *smtptest.Conn) {
				c.talk(s)
				s.Discard(int64(s.Buffered())) // else net.Pipe would hold up what is pipelined
			}
			sending(t, to("a@example.test", "b@example.test"), talk, func(t *testing.T, _ *Conn, r *Result) {
				wantCodes(t, r, c.want)
				check(t, r.Recipients[0].Failure, c.stage, smtpreply.ReasonConnectionLost, "4.4.2")
			})
		})
	}
}

func TestS35_A5xxCountsMoreThanTheLoss(t *testing.T) {
	t.Run("MAIL", func(t *testing.T) {
		sending(t, to("a@example.test", "b@example.test"), func(s *smtptest.Conn) {
			answers(s, "MAIL", "550 5.7.1 not you")
		}, func(t *testing.T, c *Conn, r *Result) {
			wantCodes(t, r, "550 550")
			check(t, r.Recipients[0].Failure, smtpreply.StageMail, "", "5.7.1")
		})
	})
	t.Run("RCPT", func(t *testing.T) {
		sending(t, to("a@example.test", "b@example.test"), func(s *smtptest.Conn) {
			answers(s, "MAIL", "250 ok", "RCPT", "550 5.1.1 no")
		}, func(t *testing.T, c *Conn, r *Result) { wantCodes(t, r, "550 connection_lost") })
	})
	t.Run("all RCPT, DATA unanswered", func(t *testing.T) {
		sending(t, to("a@example.test"), func(s *smtptest.Conn) {
			answers(s, "MAIL", "250 ok", "RCPT", "550 5.1.1 no")
		}, func(t *testing.T, c *Conn, r *Result) { wantCodes(t, r, "550") })
	})
}

func TestS47_NoCompleteReplyToTheDot(t *testing.T) {
	for name, c := range map[string]struct {
		end    smtptest.Conversation
		status string
	}{
		"lost":       {func(s *smtptest.Conn) { s.Close() }, "4.4.2"},
		"cut":        {func(s *smtptest.Conn) { s.Send("250 2.0.0 que"); s.Close() }, "4.4.2"},
		"cut lines":  {func(s *smtptest.Conn) { s.Send("250-2.0.0 a\r\n"); s.Close() }, "4.4.2"},
		"timed out":  {func(s *smtptest.Conn) { s.Silent() }, "4.4.2"},
		"no reply":   {func(s *smtptest.Conn) { s.Send("OK queued\r\n"); s.Silent() }, "4.5.0"},
		"two codes":  {func(s *smtptest.Conn) { s.Send("250-a\r\n550 b\r\n"); s.Silent() }, "4.5.0"},
		"S-63: 3xx":  {func(s *smtptest.Conn) { s.Send("354 more\r\n"); s.Silent() }, "4.5.0"},
		"bad digits": {func(s *smtptest.Conn) { s.Send("299x ok\r\n"); s.Silent() }, "4.5.0"},
	} {
		t.Run(name, func(t *testing.T) {
			sending(t, to("a@example.test", "b@example.test"), func(s *smtptest.Conn) {
				answers(s, "MAIL", "250 ok", "RCPT", "250 ok", "RCPT", "550 5.1.1 no", "DATA", "354 go")
				s.ReadData()
				c.end(s)
			}, func(t *testing.T, conn *Conn, r *Result) {
				check(t, r.Recipients[0].Failure, smtpreply.StageDot, smtpreply.ReasonAmbiguous, c.status)
				if got := r.Recipients[1].Failure.Code; got != 550 {
					t.Errorf("refused recipient: %d", got)
				}
				if conn.Usable() {
					t.Error("still usable")
				}
			})
		})
	}
}

func TestS48_OneGroup(t *testing.T) {
	host := smtptest.NewHost(t, smtptest.HostOptions{})
	o := newOptions(t)
	o.Address = host.Addr()
	c := mustDial(t, o)
	for range 2 {
		wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test", "b@example.test")), "taken taken")
	}
	c.Quit()
	groups := host.WaitClosed(1, 5*time.Second)[0].Groups
	if len(groups) != 6 { // EHLO, envelope, content, envelope, content, QUIT
		t.Fatalf("groups %q", groups)
	}
	if got := strings.Join(groups[1], "|"); !strings.HasPrefix(got, "MAIL FROM:<sender@example.test> SIZE=45|RCPT") ||
		!strings.HasSuffix(got, "|DATA") {
		t.Errorf("group %q", got)
	}
}

// 100 recipients make a group larger than what net.Pipe, which buffers nothing, takes while replies are not read.
func TestS48_WritingAndReadingDoNotBlockEachOther(t *testing.T) {
	var addresses []string
	for i := range 100 {
		addresses = append(addresses, fmt.Sprintf("%s%d@example.test", strings.Repeat("x", 50), i))
	}
	sending(t, to(addresses...), func(s *smtptest.Conn) {
		if _, rcpts := s.Envelope(); len(rcpts) != 100 {
			s.Fail("%d recipients", len(rcpts))
		}
		s.ReadData()
		s.Send("250 ok\r\n")
		s.Quit()
	}, func(t *testing.T, _ *Conn, r *Result) {
		for i, one := range r.Recipients {
			if one.Failure != nil {
				t.Fatalf("recipient %d: %v", i, one.Failure)
			}
		}
	})
}

func TestS49_LoneDotForNobody(t *testing.T) {
	for _, answer := range []string{"250 2.0.0 queued", "554 5.5.1 no recipients", "451 later"} {
		t.Run(answer, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				c := mustDial(t, o)
				wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test", "b@example.test")), "550 451")
				c.Quit()
			}, func(s *smtptest.Conn) {
				s.Greet(mxName, "PIPELINING")
				answers(s, "MAIL", "250 ok", "RCPT", "550 5.1.1 no", "RCPT", "451 4.2.1 later", "DATA", "354 go")
				if message, raw := s.ReadData(); len(message) != 0 || string(raw) != ".\r\n" {
					s.Fail("content %q", raw)
				}
				s.Send(answer + "\r\n")
				s.Quit()
			})
		})
	}
	t.Run("MAIL refused, all the rest accepted", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			c := mustDial(t, o)
			wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "550")
			c.Quit()
		}, func(s *smtptest.Conn) {
			s.Greet(mxName, "PIPELINING")
			answers(s, "MAIL", "550 5.7.1 no", "RCPT", "250 ok", "DATA", "354 go")
			s.ReadData()
			s.Send("250 queued\r\n")
			s.Quit()
		})
	})
}

func TestS50_MailRefused(t *testing.T) {
	for reply, want := range map[string]string{"451 4.7.1 later": "4.7.1", "550 5.7.1 no": "5.7.1", "530 5.7.0 TLS first": "5.7.0"} {
		t.Run(reply, func(t *testing.T) {
			sending(t, to("a@example.test", "b@example.test"), func(s *smtptest.Conn) {
				s.Expect("MAIL")
				s.Send(reply + "\r\n")
				if pipelined(s) {
					answers(s, "RCPT", "503 5.5.1 MAIL first", "RCPT", "503 5.5.1 MAIL first", "DATA", "503 5.5.1 MAIL first")
				}
				s.Quit()
			}, func(t *testing.T, _ *Conn, r *Result) {
				for _, one := range r.Recipients {
					check(t, one.Failure, smtpreply.StageMail, "", want)
				}
			})
		})
	}
}

func TestS50_OnceMoreWithoutParameters(t *testing.T) {
	for _, code := range []string{"555", "501", "504"} {
		t.Run(code, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				c := mustDial(t, o)
				m := newMessage(body, "a@example.test")
				m.Ret, m.EnvID, m.Recipients[0].Notify = "HDRS", "id", "FAILURE"
				r := c.Send(t.Context(), m)
				wantCodes(t, r, "taken")
				if r.DSN {
					t.Error("DSN is said to be passed on")
				}
				c.Quit()
			}, func(s *smtptest.Conn) {
				s.Greet(mxName, "SIZE 1000", "DSN", "8BITMIME")
				if line := s.Expect("MAIL"); line != "MAIL FROM:<sender@example.test> SIZE=45 RET=HDRS ENVID=id" {
					s.Fail("got %q", line)
				}
				s.Send(code + " 5.5.4 what?\r\n")
				answers(s, "RSET", "250 ok")
				if line := s.Expect("MAIL"); line != "MAIL FROM:<sender@example.test>" {
					s.Fail("got %q", line)
				}
				s.Send("250 ok\r\n")
				if line := s.Expect("RCPT"); line != "RCPT TO:<a@example.test>" {
					s.Fail("got %q", line)
				}
				s.Send("250 ok\r\n")
				answers(s, "DATA", "354 go")
				s.ReadData()
				s.Send("250 ok\r\n")
				s.Quit()
			})
		})
	}
	t.Run("once only", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			c := mustDial(t, o)
			wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "555")
			c.Quit()
		}, func(s *smtptest.Conn) {
			s.Greet(mxName, "SIZE 1000")
			answers(s, "MAIL FROM:<sender@example.test> SIZE", "555 no", "RSET", "250 ok", "MAIL", "555 no")
			s.Quit()
		})
	})
	t.Run("not without parameters", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			c := mustDial(t, o)
			wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "501")
			c.Quit()
		}, func(s *smtptest.Conn) {
			s.Greet(mxName)
			answers(s, "MAIL", "501 no")
			s.Quit()
		})
	})
}

func TestS51_S52_S53_EachRecipientByItsReply(t *testing.T) {
	sending(t, to("a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test", "f@x.test"), func(s *smtptest.Conn) {
		answers(s, "MAIL", "250 ok", "RCPT", "250 ok", "RCPT", "251 will forward", "RCPT", "252 cannot verify",
			"RCPT", "550 5.1.1 no", "RCPT", "450 4.2.1 later", "RCPT", "552 5.2.2 full", "DATA", "354 go")
		s.ReadData()
		s.Send("250 ok\r\n")
		s.Quit()
	}, func(t *testing.T, _ *Conn, r *Result) {
		wantCodes(t, r, "taken taken taken 550 450 552")
		check(t, r.Recipients[5].Failure, smtpreply.StageRcpt, "", "5.2.2")
	})
}

func TestS54_TooManyRecipientsGoInAFurtherTransaction(t *testing.T) {
	for _, reply := range []string{"452 too many", "452 4.5.3 too many", "552 too many", "552 5.5.3 too many"} {
		t.Run(reply, func(t *testing.T) {
			sending(t, to("a@x.test", "b@x.test", "c@x.test"), func(s *smtptest.Conn) {
				answers(s, "MAIL", "250 ok", "RCPT TO:<a", "250 ok", "RCPT TO:<b", reply, "RCPT TO:<c", reply, "DATA", "354 go")
				s.ReadData()
				s.Send("250 ok\r\n")
				answers(s, "MAIL", "250 ok", "RCPT TO:<b", "250 ok", "RCPT TO:<c", "250 ok", "DATA", "354 go")
				if message, _ := s.ReadData(); string(message) != body {
					s.Fail("content %q", message)
				}
				s.Send("250 ok\r\n")
				s.Quit()
			}, func(t *testing.T, c *Conn, r *Result) { wantCodes(t, r, "taken taken taken") })
		})
	}
	t.Run("first of a transaction", func(t *testing.T) {
		sending(t, to("a@x.test", "b@x.test"), func(s *smtptest.Conn) {
			answers(s, "MAIL", "250 ok", "RCPT", "552 too many", "RCPT", "452 4.5.3 too many")
			if pipelined(s) {
				answers(s, "DATA", "503 no recipients")
			}
			s.Quit()
		}, func(t *testing.T, _ *Conn, r *Result) {
			wantCodes(t, r, "552 452")
			for _, one := range r.Recipients {
				check(t, one.Failure, smtpreply.StageRcpt, smtpreply.ReasonTooManyRecipients, "4.5.3")
			}
		})
	})
	t.Run("other meanings", func(t *testing.T) {
		sending(t, to("a@x.test", "b@x.test", "c@x.test"), func(s *smtptest.Conn) {
			answers(s, "MAIL", "250 ok", "RCPT", "250 ok", "RCPT", "452 4.2.2 full", "RCPT", "552 5.2.2 full", "DATA", "354 go")
			s.ReadData()
			s.Send("250 ok\r\n")
			s.Quit()
		}, func(t *testing.T, _ *Conn, r *Result) {
			wantCodes(t, r, "taken 452 552")
			check(t, r.Recipients[1].Failure, smtpreply.StageRcpt, "", "4.2.2")
			check(t, r.Recipients[2].Failure, smtpreply.StageRcpt, "", "5.2.2")
		})
	})
}

func TestS55_RecipientsPerTransaction(t *testing.T) {
	for _, c := range []struct {
		limits     string
		recipients int
		want       []int
	}{
		{"LIMITS RCPTMAX=2", 5, []int{2, 2, 1}},
		{"LIMITS RCPTMAX=5000", 150, []int{100, 50}},
		{"DSN", 100, []int{100}},
	} {
		t.Run(c.limits, func(t *testing.T) {
			host := smtptest.NewHost(t, smtptest.HostOptions{Extensions: []string{"PIPELINING", c.limits}})
			var addresses []string
			for i := range c.recipients {
				addresses = append(addresses, fmt.Sprintf("r%d@x.test", i))
			}
			o := newOptions(t)
			o.Address = host.Addr()
			conn := mustDial(t, o)
			r := conn.Send(t.Context(), newMessage(body, addresses...))
			conn.Quit()
			for i, one := range r.Recipients {
				if one.Failure != nil {
					t.Fatalf("recipient %d: %v", i, one.Failure)
				}
			}
			var got []int
			for _, m := range host.Messages() {
				got = append(got, len(m.Rcpts))
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("transactions of %v recipients, want %v", got, c.want)
			}
		})
	}
}

func TestS56_DataNot354(t *testing.T) {
	for _, c := range []struct {
		reply  string
		want   string
		reason smtpreply.Reason
		status string
		quit   bool
	}{
		{"451 4.3.0 later", "451 550", "", "4.3.0", true},
		{"554 5.7.1 no", "554 550", "", "5.7.1", true},
		{"552 big", "552 550", "", "5.3.4", true},
		{"250 ok", "250 550", smtpreply.ReasonProtocol, "4.5.0", false},
		{"355 go", "355 550", smtpreply.ReasonProtocol, "4.5.0", false},
	} {
		t.Run(c.reply, func(t *testing.T) {
			sending(t, to("a@x.test", "b@x.test"), func(s *smtptest.Conn) {
				answers(s, "MAIL", "250 ok", "RCPT", "250 ok", "RCPT", "550 5.1.1 no", "DATA", c.reply)
				if !c.quit {
					s.ExpectClosed()
					return
				}
				s.Quit()
			}, func(t *testing.T, _ *Conn, r *Result) {
				wantCodes(t, r, c.want)
				check(t, r.Recipients[0].Failure, smtpreply.StageData, c.reason, c.status)
			})
		})
	}
}

func TestS62_DotRefused(t *testing.T) {
	for reply, status := range map[string]string{
		"451 4.7.1 greylisted": "4.7.1", "554 5.7.1 spam": "5.7.1", "552 big": "5.3.4", "452 full": "4.0.0",
	} {
		t.Run(reply, func(t *testing.T) {
			sending(t, to("a@x.test", "b@x.test"), func(s *smtptest.Conn) {
				answers(s, "MAIL", "250 ok", "RCPT", "250 ok", "RCPT", "550 5.1.1 no", "DATA", "354 go")
				s.ReadData()
				s.Send(reply + "\r\n")
				s.Quit()
			}, func(t *testing.T, c *Conn, r *Result) {
				wantCodes(t, r, reply[:3]+" 550")
				check(t, r.Recipients[0].Failure, smtpreply.StageDot, "", status)
				if !c.Usable() {
					t.Error("not usable")
				}
				if !strings.Contains(strings.Join(c.Transcript(), "\n"), "S: "+reply[:3]) {
					t.Errorf("not in the transcript: %q", c.Transcript())
				}
			})
		})
	}
}

func TestS71_RsetBeforeTheNextTransaction(t *testing.T) {
	sending(t, to("a@x.test"), func(s *smtptest.Conn) {
		answers(s, "MAIL", "250 ok", "RCPT", "550 no")
		if pipelined(s) {
			answers(s, "DATA", "503 no recipients")
		}
		answers(s, "RSET", "250 ok")
		s.Take()
		s.Take() // after a 250 without RSET
		s.Quit()
	}, func(t *testing.T, c *Conn, r *Result) {
		wantCodes(t, r, "550")
		wantCodes(t, c.Send(t.Context(), newMessage(body, "b@x.test")), "taken")
		wantCodes(t, c.Send(t.Context(), newMessage(body, "c@x.test")), "taken")
	})
}

func TestS73_QuitWithoutWaiting(t *testing.T) {
	over(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		if took := elapsed(c.Quit); took > time.Second {
			t.Errorf("took %s", took)
		}
		c.Quit() // again does nothing
	}, func(s *smtptest.Conn) {
		s.Greet(mxName)
		s.Expect("QUIT")
		s.ExpectClosed() // without a 221
	})
}

func TestQ07_NoTransactionWithoutLeave(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		m := newMessage(body, "a@x.test", "b@x.test")
		asked := 0
		m.MayStart = func() bool { asked++; return asked == 1 }
		r := c.Send(t.Context(), m)
		wantCodes(t, r, "taken shutdown")
		c.Quit()
	}, func(s *smtptest.Conn) {
		s.Greet(mxName, "LIMITS RCPTMAX=1")
		s.Take()
		s.Quit()
	})
}

func TestSendEndsWithItsContext(t *testing.T) {
	for _, stage := range []string{"MAIL", "RCPT", "DATA"} {
		t.Run(stage, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				c := mustDial(t, o)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				took := elapsed(func() { wantCodes(t, c.Send(ctx, newMessage(body, "a@x.test")), "shutdown") })
				if took != time.Second {
					t.Errorf("took %s", took)
				}
				c.Quit()
			}, func(s *smtptest.Conn) {
				s.Greet(mxName)
				for _, step := range []string{"MAIL", "RCPT", "DATA"} {
					s.Expect(step)
					if step == stage {
						break
					}
					s.Send("250 ok\r\n")
				}
				s.Silent()
			})
		})
	}
	t.Run("content", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			c := mustDial(t, o)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			took := elapsed(func() {
				wantCodes(t, c.Send(ctx, newMessage(strings.Repeat(body, 5000), "a@x.test")), "shutdown")
			})
			if took != time.Second {
				t.Errorf("took %s", took)
			}
		}, func(s *smtptest.Conn) {
			s.Greet(mxName)
			s.Envelope()
			time.Sleep(time.Minute)
		})
	})
	t.Run("after the dot the reply is awaited", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			c := mustDial(t, o)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			wantCodes(t, c.Send(ctx, newMessage(body, "a@x.test")), "taken")
			c.Quit()
		}, func(s *smtptest.Conn) {
			s.Greet(mxName)
			s.Envelope()
			s.ReadData()
			time.Sleep(time.Minute)
			s.Send("250 ok\r\n")
			s.ExpectClosed()
		})
	})
}

func TestSendInTheWrongState(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		c.Quit()
		wantCodes(t, c.Send(t.Context(), newMessage(body, "a@x.test")), "internal")
	}, func(s *smtptest.Conn) { s.Greet(mxName); s.Quit() })
}
