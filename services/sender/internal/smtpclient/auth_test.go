// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/sender/internal/sasl"
	"github.com/postrider/postrider/testkit/smtptest"
)

var relayUser = sasl.Credentials{Username: "relayuser", Password: "pa55word"}

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// loggingIn are options that authenticate, in clear unless a test says otherwise.
func loggingIn(o *Options) { o.Auth = &Auth{Credentials: relayUser, Insecure: true} }

// offersAuth greets with these mechanisms, in the AUTH line and in its old form.
func offersAuth(s *smtptest.Conn, mechanisms string) {
	s.Greet(mxName, "PIPELINING", "AUTH "+mechanisms)
}

// noSecrets checks that nothing that may be kept or shown has the password in it, in any form.
func noSecrets(t *testing.T, c *Conn, fail *smtpreply.Error) {
	t.Helper()
	told := strings.Join(c.Transcript(), "\n") + fmt.Sprintf("%+v %v", fail.Proto(), fail)
	if fail != nil {
		told += fmt.Sprint(FailureAttributes(fail))
	}
	for _, secret := range []string{
		relayUser.Password, b64(relayUser.Password), b64(relayUser.Username), b64("\x00" + relayUser.Username + "\x00" + relayUser.Password), "p=", "c=biws",
	} {
		if strings.Contains(told, secret) {
			t.Errorf("%q is told:\n%s", secret, told)
		}
	}
}

func TestS43_MechanismsInTheirOrder(t *testing.T) {
	plainLine := "AUTH PLAIN " + b64("\x00relayuser\x00pa55word")
	for offered, talk := range map[string]smtptest.Conversation{
		"LOGIN PLAIN": func(s *smtptest.Conn) {
			if line := s.Expect("AUTH"); line != plainLine {
				s.Fail("%q", line)
			}
		},
		"plain": func(s *smtptest.Conn) { s.Expect("AUTH PLAIN") },
		"NTLM LOGIN": func(s *smtptest.Conn) {
			if line := s.Expect("AUTH"); line != "AUTH LOGIN" {
				s.Fail("%q", line)
			}
			for _, step := range []struct{ ask, want string }{{"Username:", relayUser.Username}, {"pass word?", relayUser.Password}} {
				s.Send("334 " + b64(step.ask) + "\r\n")
				if line := s.ReadLine(); line != b64(step.want) {
					s.Fail("%q", line)
				}
			}
		},
		"PLAIN LOGIN SCRAM-SHA-256": scramHost(relayUser.Password, "i=4096"),
	} {
		t.Run(offered, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				loggingIn(&o)
				c := mustDial(t, o)
				wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
				c.Quit()
				noSecrets(t, c, nil)
				if told := c.Transcript(); !slices.ContainsFunc(told, func(line string) bool { return strings.HasPrefix(line, "C: AUTH ") }) {
					t.Errorf("the transcript does not tell of AUTH: %q", told)
				}
			}, func(s *smtptest.Conn) {
				offersAuth(s, offered)
				talk(s)
				s.Send("235 2.7.0 welcome\r\n")
				s.Take()
				s.Quit()
			})
		})
	}
}

// scramHost speaks SCRAM-SHA-256 up to the answer to its last word.
func scramHost(password, iterations string) smtptest.Conversation {
	return func(s *smtptest.Conn) {
		client, err := scram.SHA256.NewClient(relayUser.Username, password, "")
		if err != nil {
			s.Fail("%v", err)
		}
		stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "pepper", Iters: 4096})
		if err != nil {
			s.Fail("%v", err)
		}
		server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
		if err != nil {
			s.Fail("%v", err)
		}
		talk := server.NewConversation()
		said, _ := strings.CutPrefix(s.Expect("AUTH SCRAM-SHA-256"), "AUTH SCRAM-SHA-256 ")
		for !talk.Done() {
			message, err := base64.StdEncoding.DecodeString(said)
			if err != nil {
				s.Fail("%q: %v", said, err)
			}
			challenge, _ := talk.Step(string(message)) // a wrong proof is answered all the same
			s.Send("334 " + b64(strings.Replace(challenge, "i=4096", iterations, 1)) + "\r\n")
			said = s.ReadLine()
		}
	}
}

// Credentials are said only inside verified TLS, to what the host offers there.
func TestS43_OnlyInsideVerifiedTLS(t *testing.T) {
	ca := smtptest.NewCA(t)
	for name, c := range map[string]struct {
		policy  TLSPolicy
		offered bool // STARTTLS
		want    bool
	}{
		"verified":   {verifyPolicy(ca), true, true},
		"unverified": {TLSPolicy{Mode: TLSRequire, Word: "require"}, true, false},
		"clear":      {TLSPolicy{Mode: TLSOpportunistic, Word: "opportunistic"}, false, false},
		"off":        {TLSPolicy{Mode: TLSOff, Word: "none"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				o.TLS, o.Auth = c.policy, &Auth{Credentials: relayUser}
				if c.want {
					mustDial(t, o).Quit()
					return
				}
				conn, fail := failDial(t, o, smtpreply.StageAuth, smtpreply.ReasonAuth, "4.7.8")
				noSecrets(t, conn, fail)
			}, func(s *smtptest.Conn) {
				if c.offered {
					s.Greet(mxName, "STARTTLS", "AUTH LOGIN")
				} else {
					s.Greet(mxName, "AUTH LOGIN")
				}
				if c.offered && c.policy.Mode != TLSOff {
					s.Expect("STARTTLS")
					s.Send("220 go\r\n")
					s.StartTLS(ca.ServerConfig(mxName))
					s.Hello(mxName, "AUTH PLAIN")
				}
				if c.want {
					s.Expect("AUTH PLAIN")
					s.Send("235 2.7.0 ok\r\n")
				}
				s.Quit()
			})
		})
	}
}

func TestS44_DeferredWithAReasonOfItsOwn(t *testing.T) {
	plain := func(reply string) smtptest.Conversation {
		return func(s *smtptest.Conn) {
			offersAuth(s, "PLAIN")
			s.Expect("AUTH PLAIN")
			s.Send(reply + "\r\n")
			s.Quit()
		}
	}
	cancelled := func(s *smtptest.Conn) {
		if line := s.ReadLine(); line != "*" {
			s.Fail("%q, want the exchange cancelled", line)
		}
		s.Send("501 5.5.2 cancelled\r\n")
		s.Quit()
	}
	for name, c := range map[string]struct {
		talk   smtptest.Conversation
		reason smtpreply.Reason
		status string
	}{
		"535":                     {plain("535 5.7.8 no"), smtpreply.ReasonAuth, "4.7.8"},
		"535 that repeats":        {plain("535-5.7.8 no: " + b64("\x00relayuser\x00pa55word") + "\r\n535 5.7.8 pa55word is wrong"), smtpreply.ReasonAuth, "4.7.8"},
		"534":                     {plain("534 5.7.9 too weak"), smtpreply.ReasonAuth, "4.7.8"},
		"503":                     {plain("503 no"), smtpreply.ReasonAuth, "4.7.8"},
		"454":                     {plain("454 4.7.0 directory is down"), smtpreply.ReasonAuth, "4.7.0"},
		"nothing in common":       {func(s *smtptest.Conn) { offersAuth(s, "CRAM-MD5 XOAUTH2"); s.Quit() }, smtpreply.ReasonAuthMechanism, "4.7.0"},
		"nothing offered":         {func(s *smtptest.Conn) { s.Greet(mxName); s.Quit() }, smtpreply.ReasonAuthMechanism, "4.7.0"},
		"challenge behind PLAIN":  {func(s *smtptest.Conn) { plainThen(s, "334 "+b64("more")); cancelled(s) }, smtpreply.ReasonAuth, "4.7.8"},
		"challenge not in base64": {func(s *smtptest.Conn) { plainThen(s, "334 ???"); cancelled(s) }, smtpreply.ReasonAuth, "4.7.8"},
		"endless 334": {func(s *smtptest.Conn) {
			offersAuth(s, "LOGIN")
			s.Expect("AUTH LOGIN")
			for range 2 {
				s.Send("334 " + b64("?") + "\r\n")
				s.ReadLine()
			}
			s.Send("334 " + b64("?") + "\r\n")
			cancelled(s)
		}, smtpreply.ReasonAuth, "4.7.8"},
		"SCRAM, the password is another": {func(s *smtptest.Conn) {
			offersAuth(s, "SCRAM-SHA-256")
			s.Expect("AUTH SCRAM-SHA-256")
			s.Send("334 " + b64("r=another,s=c2FsdA==,i=4096") + "\r\n")
			cancelled(s)
		}, smtpreply.ReasonAuth, "4.7.8"},
		"SCRAM, 235 without a signature": {func(s *smtptest.Conn) {
			offersAuth(s, "SCRAM-SHA-256")
			s.Expect("AUTH SCRAM-SHA-256")
			s.Send("235 2.7.0 welcome\r\n")
			s.Quit()
		}, smtpreply.ReasonAuth, "4.7.8"},
	} {
		t.Run(name, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				loggingIn(&o)
				conn, fail := failDial(t, o, smtpreply.StageAuth, c.reason, c.status)
				noSecrets(t, conn, fail)
			}, c.talk)
		})
	}
}

func plainThen(s *smtptest.Conn, reply string) {
	offersAuth(s, "PLAIN")
	s.Expect("AUTH PLAIN")
	s.Send(reply + "\r\n")
}

// Ten challenges are the most, whatever mechanism could bear more.
func TestS44_TenChallengesAtMost(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		loggingIn(&o)
		c := &Conn{o: &o, timer: stoppedTimer()}
		for _, step := range []func() *smtpreply.Error{
			func() *smtpreply.Error { return c.connect(t.Context()) }, func() *smtpreply.Error { return c.greeting(t.Context()) },
			func() *smtpreply.Error { return c.hello(t.Context()) },
		} {
			if fail := step(); fail != nil {
				t.Fatal(fail)
			}
		}
		_, fail := c.authenticate(t.Context(), patient{})
		check(t, fail, smtpreply.StageAuth, smtpreply.ReasonAuth, "4.7.8")
		c.Quit()
	}, func(s *smtptest.Conn) {
		offersAuth(s, "PATIENT")
		s.Expect("AUTH PATIENT")
		for range 10 {
			s.Send("334 \r\n")
			if line := s.ReadLine(); line != b64("yes") {
				s.Fail("%q", line)
			}
		}
		s.Send("334 \r\n")
		if line := s.ReadLine(); line != "*" {
			s.Fail("%q", line)
		}
		s.Send("501 cancelled\r\n")
		s.Quit()
	})
}

// patient is a mechanism that answers whatever it is asked.
type patient struct{}

func (patient) Name() string                { return "PATIENT" }
func (patient) Initial() []byte             { return nil }
func (patient) Next([]byte) ([]byte, error) { return []byte("yes"), nil }
func (patient) Finish() error               { return nil }

// A host that lets the exchange drag on has five minutes for all of it, and one that goes away is like any other.
func TestS44_LostAndSlowExchanges(t *testing.T) {
	t.Run("slow", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			loggingIn(&o)
			took := elapsed(func() { failDial(t, o, smtpreply.StageAuth, smtpreply.ReasonTimeout, "4.4.2") })
			if took != 5*time.Minute {
				t.Errorf("took %s", took)
			}
		}, func(s *smtptest.Conn) {
			offersAuth(s, "LOGIN")
			s.Expect("AUTH LOGIN")
			for range 2 {
				time.Sleep(4 * time.Minute)
				if s.TrySend("334 \r\n") != nil {
					return
				}
			}
			s.Silent()
		})
	})
	t.Run("lost", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			loggingIn(&o)
			failDial(t, o, smtpreply.StageAuth, smtpreply.ReasonConnectionLost, "4.4.2")
		}, func(s *smtptest.Conn) {
			offersAuth(s, "PLAIN")
			s.Expect("AUTH PLAIN")
		})
	})
	t.Run("421", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			loggingIn(&o)
			_, fail := failDial(t, o, smtpreply.StageAuth, "", "4.3.2")
			if fail.Code != 421 {
				t.Errorf("got %v", fail)
			}
		}, func(s *smtptest.Conn) {
			plainThen(s, "421 4.3.2 shutting down")
			s.ExpectClosed()
		})
	})
}

// An initial response that does not fit the line goes by itself (RFC 4954, section 4).
func TestS43_LongCredentials(t *testing.T) {
	long := sasl.Credentials{Username: "u", Password: strings.Repeat("x", 500)}
	piped(t, func(t *testing.T, o Options) {
		o.Auth = &Auth{Credentials: long, Insecure: true}
		mustDial(t, o).Quit()
	}, func(s *smtptest.Conn) {
		offersAuth(s, "PLAIN")
		if line := s.Expect("AUTH PLAIN"); line != "AUTH PLAIN" {
			s.Fail("%q", line)
		}
		s.Send("334 \r\n")
		if line := s.ReadLine(); line != b64("\x00u\x00"+long.Password) {
			s.Fail("%q", line)
		}
		s.Send("235 ok\r\n")
		s.Quit()
	})
}

// Whatever a host offers, without credentials nobody authenticates.
func TestS25_NobodyAuthenticatesWithoutCredentials(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
		c.Quit()
	}, func(s *smtptest.Conn) {
		s.Greet(mxName, "AUTH PLAIN LOGIN SCRAM-SHA-256", "AUTH=LOGIN", "X-EXPS GSSAPI")
		s.Take()
		s.Quit()
	})
}

func TestO01_AuthHasASpan(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		loggingIn(&o)
		spans := traced(t, o, newMessage(body, "a@example.test"))["smtp.auth"]
		if len(spans) != 1 || attr(spans[0], "smtp.auth.mechanism") != "PLAIN" || attr(spans[0], "mail.reason") != "auth" {
			t.Errorf("got %+v", spans)
		}
		for _, s := range spans {
			for _, a := range s.Attributes {
				if strings.Contains(a.Value.String(), relayUser.Password) {
					t.Errorf("%s tells the password", a.Key)
				}
			}
		}
	}, func(s *smtptest.Conn) {
		plainThen(s, "535 5.7.8 pa55word")
		s.Quit()
	})
}
