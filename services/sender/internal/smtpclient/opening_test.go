// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/testkit/smtptest"
)

func TestS01_ConnectHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOptions(t)
		o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done() // a host that drops the SYN
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
		}
		took := elapsed(func() {
			_, fail := failDial(t, o, smtpreply.StageConnect, smtpreply.ReasonConnect, "4.4.1")
			if fail.Detail != "no connection within 30s" {
				t.Errorf("detail %q", fail.Detail)
			}
		})
		if took != 30*time.Second {
			t.Errorf("given up after %s", took)
		}
	})
}

func TestS02_GreetingTimeDependsOnWhatIsLeft(t *testing.T) {
	for last, want := range map[bool]time.Duration{false: time.Minute, true: 5 * time.Minute} {
		t.Run(fmt.Sprintf("last=%t", last), func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				o.LastCandidate = last
				took := elapsed(func() {
					c, _ := failDial(t, o, smtpreply.StageGreeting, smtpreply.ReasonNoGreeting, "4.4.2")
					if c.Greeted() {
						t.Error("counted as greeted")
					}
				})
				if took != want {
					t.Errorf("given up after %s, want %s", took, want)
				}
			}, func(s *smtptest.Conn) {
				if end := s.Silent(); end.Total != 0 {
					s.Fail("the client said %q", end.Rest)
				}
			})
		})
	}
}

func TestS02_DripDoesNotExtendTheGreetingTime(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		took := elapsed(func() { failDial(t, o, smtpreply.StageGreeting, smtpreply.ReasonNoGreeting, "4.4.2") })
		if took != time.Minute {
			t.Errorf("given up after %s", took)
		}
	}, func(s *smtptest.Conn) {
		s.Drip("220 "+strings.Repeat("x", 200)+"\r\n", 20*time.Second)
	})
}

func TestS11_ConnectRefused(t *testing.T) {
	o := newOptions(t)
	o.Address = smtptest.Refuse(t, netip.MustParseAddrPort("127.0.0.1:0"))
	_, fail := failDial(t, o, smtpreply.StageConnect, smtpreply.ReasonConnect, "4.4.1")
	if fail.Detail != "connection refused" {
		t.Errorf("detail %q", fail.Detail)
	}
}

func TestR22_AddressWithoutLocalRoute(t *testing.T) {
	o := newOptions(t)
	o.Address = netip.MustParseAddrPort("127.0.0.1:9")
	o.Source = netip.MustParseAddr("192.0.2.77") // not an address of this machine
	failDial(t, o, smtpreply.StageConnect, smtpreply.ReasonNoLocalRoute, "4.4.1")
}

func TestS12_SilentGreeting(t *testing.T) {
	over(t, func(t *testing.T, o Options) {
		o.Timeouts.Greeting /= 300 // 200 ms of real time: the kernel's part is what this test is for
		failDial(t, o, smtpreply.StageGreeting, smtpreply.ReasonNoGreeting, "4.4.2")
	}, func(s *smtptest.Conn) {
		if end := s.Silent(); end.Kind != smtptest.ClosedFIN && end.Kind != smtptest.ClosedReset || end.Total != 0 {
			s.Fail("not closed: %+v", end)
		}
	})
}

func TestS13_ClosedBeforeTheGreetingEnds(t *testing.T) {
	for name, talk := range map[string]smtptest.Conversation{
		"FIN":               func(s *smtptest.Conn) { s.Close() },
		"half closed":       func(s *smtptest.Conn) { s.FIN(); s.ExpectClosed() },
		"in the line":       func(s *smtptest.Conn) { s.Send("220 mx.exam"); s.Close() },
		"between two lines": func(s *smtptest.Conn) { s.Send("220-mx.example.test\r\n"); s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			over(t, func(t *testing.T, o Options) {
				failDial(t, o, smtpreply.StageGreeting, smtpreply.ReasonConnectionLost, "4.4.2")
			}, talk)
		})
	}
}

func TestS13_ResetBeforeTheGreeting(t *testing.T) {
	over(t, func(t *testing.T, o Options) {
		_, fail := Dial(t.Context(), o)
		// The reset may overtake the end of connect.
		if fail == nil || !fail.Temporary() || fail.Code != 0 ||
			fail.Reason != smtpreply.ReasonConnectionLost && fail.Reason != smtpreply.ReasonConnect {
			t.Errorf("got %v", fail)
		}
	}, func(s *smtptest.Conn) { s.Reset() })
}

func TestS14_S15_GreetingRefuses(t *testing.T) {
	for _, c := range []struct {
		greeting, status string
		reason           smtpreply.Reason
		quit             bool
	}{
		{"421 busy\r\n", "4.3.2", "", false},
		{"450 4.7.0 later\r\n", "4.7.0", "", true},
		{"451-4.3.0 a\r\n451 4.3.0 b\r\n", "4.3.0", "", true},
		{"554 no\r\n", "5.3.2", smtpreply.ReasonGreetingRefused, true},
		{"554 5.7.1 blocked\r\n", "5.7.1", smtpreply.ReasonGreetingRefused, true},
		{"521 5.3.2 takes no mail\r\n", "5.3.2", smtpreply.ReasonGreetingRefused, true},
	} {
		t.Run(strings.TrimSpace(c.greeting), func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				conn, fail := failDial(t, o, smtpreply.StageGreeting, c.reason, c.status)
				if !conn.Greeted() || fail.Code == 0 {
					t.Errorf("greeted %t, code %d", conn.Greeted(), fail.Code)
				}
			}, func(s *smtptest.Conn) {
				s.Send(c.greeting)
				if !c.quit {
					s.ExpectClosed()
					return
				}
				s.Quit()
			})
		})
	}
}

func TestS16_GreetingIsNoReply(t *testing.T) {
	for _, greeting := range []string{
		"SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 400 Bad Request\r\n", "220mx\r\n", "120 wait\r\n", "\r\n", "354 go\r\n",
		"220-a\r\n221 b\r\n", strings.Repeat("x", 5000) + "\r\n",
	} {
		t.Run(greeting[:min(len(greeting), 12)], func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				failDial(t, o, smtpreply.StageGreeting, smtpreply.ReasonProtocol, "4.5.0")
			}, func(s *smtptest.Conn) {
				_ = s.TrySend(greeting)
				s.ExpectClosed()
			})
		})
	}
}

func TestS17_OddGreetingsAreTaken(t *testing.T) {
	for _, greeting := range []string{
		"220-first\r\n220-\r\n220 last\r\n", "220\r\n", "220 \n", "220-a\n220 b\n", "220 \x00\xff\r\n", "250 hello\r\n",
	} {
		t.Run(fmt.Sprintf("%q", greeting), func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				mustDial(t, o).Quit()
			}, func(s *smtptest.Conn) {
				s.Send(greeting)
				s.Hello("mx.example.test")
				s.Quit()
			})
		})
	}
}

func TestS18_NamesOfTheHostDoNotMatter(t *testing.T) {
	for _, name := range []string{"aliasex2000", "192.0.2.1", "[192.0.2.1]", "", "-", "localhost", "mx..example", "_x", "\xff"} {
		t.Run(name, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				o.OwnName = clientName
				c := mustDial(t, o)
				wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
				c.Quit()
			}, func(s *smtptest.Conn) {
				s.Greet(name, "X-EXPS GSSAPI NTLM LOGIN", "X-EXPS=LOGIN", "AUTH GSSAPI NTLM LOGIN", "AUTH=LOGIN", "X-LINK2STATE")
				s.Take()
				s.Quit()
			})
		})
	}
}

func TestS19_OwnNameAtEHLO(t *testing.T) {
	for name, own := range map[string]bool{
		clientName: true, strings.ToUpper(clientName) + ".": true, clientName + " at your service": true,
		"x." + clientName: false, "other.example": false,
	} {
		t.Run(name, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				o.OwnName = clientName
				if own {
					failDial(t, o, smtpreply.StageEhlo, smtpreply.ReasonSelfSession, "4.4.6")
					return
				}
				mustDial(t, o).Quit()
			}, func(s *smtptest.Conn) {
				s.Greet(name)
				s.Quit()
			})
		})
	}
	t.Run("rule off", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			mustDial(t, o).Quit()
		}, func(s *smtptest.Conn) {
			s.Greet(clientName)
			s.Quit()
		})
	})
}

func TestS20_ArgumentOfEHLO(t *testing.T) {
	piped(t, func(t *testing.T, o Options) { mustDial(t, o).Quit() }, func(s *smtptest.Conn) {
		if line := s.Greet("mx.example.test"); line != "EHLO "+clientName {
			s.Fail("got %q", line)
		}
		s.Quit()
	})
	t.Run("address literal", func(t *testing.T) {
		over(t, func(t *testing.T, o Options) {
			o.Hostname = ""
			mustDial(t, o).Quit()
		}, func(s *smtptest.Conn) {
			if line := s.Greet("mx.example.test"); line != "EHLO [127.0.0.1]" {
				s.Fail("got %q", line)
			}
			s.Quit()
		})
	})
}

func TestS21_HELOOnTheSameConnection(t *testing.T) {
	for _, code := range []int{500, 501, 502, 503, 504, 550} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				c := mustDial(t, o)
				if helo, forced := c.HeloOnly(); !helo || forced {
					t.Errorf("helo %t, forced %t", helo, forced)
				}
				wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
				c.Quit()
			}, func(s *smtptest.Conn) {
				s.Send("220 old\r\n")
				s.Expect("EHLO ")
				s.Send(smtptest.Reply(code, "what?"))
				s.Expect("HELO " + clientName)
				s.Send("250 old\r\n")
				s.Take()
				s.Quit()
			})
		})
	}
}

func TestS22_LostAfterEHLO(t *testing.T) {
	hangUp := func(s *smtptest.Conn) {
		s.Send("220 old\r\n")
		s.Expect("EHLO ")
		s.Close()
	}
	t.Run("HELO on a new connection", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			c := mustDial(t, o)
			if helo, forced := c.HeloOnly(); !helo || !forced {
				t.Errorf("helo %t, forced %t", helo, forced)
			}
			wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
			c.Quit()
		}, hangUp, func(s *smtptest.Conn) {
			s.Send("220 old\r\n")
			s.Expect("HELO ")
			s.Send("250 old\r\n")
			s.Take()
			s.Quit()
		})
	})
	t.Run("once only", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			failDial(t, o, smtpreply.StageHelo, smtpreply.ReasonConnectionLost, "4.4.2")
		}, hangUp, func(s *smtptest.Conn) {
			s.Send("220 old\r\n")
			s.Expect("HELO ")
			s.Close()
		})
	})
	t.Run("not under TLS", func(t *testing.T) {
		conf := smtptest.NewCA(t).ServerConfig(mxName)
		piped(t, func(t *testing.T, o Options) {
			failDial(t, o, smtpreply.StageEhlo, smtpreply.ReasonConnectionLost, "4.4.2")
		}, startTLS(conf, func(s *smtptest.Conn) { s.Expect("EHLO ") }))
	})
	t.Run("not where TLS is needed", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			o.TLS = TLSPolicy{Mode: TLSRequire, Word: "require"}
			failDial(t, o, smtpreply.StageEhlo, smtpreply.ReasonConnectionLost, "4.4.2")
		}, hangUp)
	})
}

func TestS23_S24_HelloRefused(t *testing.T) {
	for _, c := range []struct {
		name, ehlo, helo string
		stage            smtpreply.Stage
		reason           smtpreply.Reason
		status           string
	}{
		{"EHLO 421", "421 4.3.2 down\r\n", "", smtpreply.StageEhlo, "", "4.3.2"},
		{"EHLO 451", "451 later\r\n", "", smtpreply.StageEhlo, "", "4.0.0"},
		{"EHLO 554", "554 5.7.1 no\r\n", "", smtpreply.StageEhlo, smtpreply.ReasonGreetingRefused, "5.7.1"},
		{"EHLO 521", "521 no mail\r\n", "", smtpreply.StageEhlo, smtpreply.ReasonGreetingRefused, "5.0.0"},
		{"HELO 450", "502 no\r\n", "450 4.7.1 later\r\n", smtpreply.StageHelo, "", "4.7.1"},
		{"HELO 550", "502 no\r\n", "550 5.7.1 no\r\n", smtpreply.StageHelo, smtpreply.ReasonGreetingRefused, "5.7.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				failDial(t, o, c.stage, c.reason, c.status)
			}, func(s *smtptest.Conn) {
				s.Send("220 mx\r\n")
				s.Expect("EHLO ")
				s.Send(c.ehlo)
				if c.helo != "" {
					s.Expect("HELO ")
					s.Send(c.helo)
				}
				if strings.HasPrefix(c.ehlo, "421") {
					s.ExpectClosed()
					return
				}
				s.Quit()
			})
		})
	}
}

func TestS32_SurplusInputWhileOpening(t *testing.T) {
	t.Run("behind the greeting", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			failDial(t, o, smtpreply.StageEhlo, smtpreply.ReasonProtocol, "4.5.0")
		}, func(s *smtptest.Conn) {
			s.Send("220 a\r\n220 b\r\n")
			s.ExpectClosed()
		})
	})
	t.Run("part of a line behind the greeting", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			failDial(t, o, smtpreply.StageEhlo, smtpreply.ReasonProtocol, "4.5.0")
		}, func(s *smtptest.Conn) {
			s.Send("220 a\r\n25")
			s.ExpectClosed()
		})
	})
	t.Run("421 behind the greeting is the host's good-bye", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			_, fail := failDial(t, o, smtpreply.StageEhlo, "", "4.3.2")
			if fail.Code != 421 {
				t.Errorf("code %d", fail.Code)
			}
		}, func(s *smtptest.Conn) {
			s.Send("220 a\r\n421 shutting down\r\n")
			s.ExpectClosed()
		})
	})
	t.Run("behind the EHLO reply", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			c := mustDial(t, o)
			if c.Usable() {
				t.Error("usable out of step")
			}
			r := c.Send(t.Context(), newMessage(body, "a@example.test"))
			check(t, r.Recipients[0].Failure, smtpreply.StageMail, smtpreply.ReasonProtocol, "4.5.0")
			c.Quit()
		}, func(s *smtptest.Conn) {
			s.Send("220 a\r\n")
			s.Expect("EHLO ")
			s.Send("250 a\r\n250 sender ok\r\n250 rcpt ok\r\n354 go\r\n250 queued\r\n")
			s.ExpectClosed()
		})
	})
}

func TestDialEndsWithItsContext(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		c, fail := Dial(ctx, o)
		check(t, fail, smtpreply.StageGreeting, smtpreply.ReasonShutdown, "4.3.0")
		c.Quit()
	}, func(s *smtptest.Conn) { s.Silent() })
}
