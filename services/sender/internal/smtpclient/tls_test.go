// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"reflect"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/testkit/smtptest"
)

const mxName = "mx.example.test"

// startTLS is a conversation up to the handshake, then the rest.
func startTLS(conf *tls.Config, then smtptest.Conversation) smtptest.Conversation {
	return func(s *smtptest.Conn) {
		s.Greet(mxName, "STARTTLS")
		s.Expect("STARTTLS")
		s.Send("220 go ahead\r\n")
		if _, err := s.TryStartTLS(conf); err != nil {
			return
		}
		then(s)
	}
}

func takeOne(s *smtptest.Conn) {
	s.Hello(mxName, "PIPELINING")
	s.Take()
	s.Quit()
}

func verifyPolicy(ca *smtptest.CA) TLSPolicy {
	return TLSPolicy{Mode: TLSVerify, Word: "mta-sts", ServerName: mxName, Names: []string{mxName}, Roots: ca.Pool()}
}

func TestS26_KeywordsBeforeSTARTTLSAreForgotten(t *testing.T) {
	conf := smtptest.NewCA(t).ServerConfig(mxName)
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		if ext := c.Extensions(); ext.DSN || ext.StartTLS || ext.Pipelining || !ext.EightBitMIME {
			t.Errorf("kept %+v", ext)
		}
		c.Quit()
	}, func(s *smtptest.Conn) {
		s.Greet(mxName, "STARTTLS", "DSN", "PIPELINING")
		s.Expect("STARTTLS")
		s.Send("220 go ahead\r\n")
		s.StartTLS(conf)
		s.Hello(mxName, "8BITMIME")
		s.Quit()
	})
}

func TestS26_KeywordsAreForgottenWhenOnlyHELOFollows(t *testing.T) {
	conf := smtptest.NewCA(t).ServerConfig(mxName)
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		if ext := c.Extensions(); !reflect.DeepEqual(ext, Extensions{}) {
			t.Errorf("kept %+v", ext)
		}
		c.Quit()
	}, func(s *smtptest.Conn) {
		s.Greet(mxName, "STARTTLS", "DSN", "PIPELINING")
		s.Expect("STARTTLS")
		s.Send("220 go ahead\r\n")
		s.StartTLS(conf)
		s.Expect("EHLO")
		s.Send("502 not again\r\n")
		s.Expect("HELO")
		s.Send("250 mx\r\n")
		s.Quit()
	})
}

func TestS36_OpportunisticTakesWhatThereIs(t *testing.T) {
	ca := smtptest.NewCA(t)
	for version, name := range map[uint16]string{tls.VersionTLS10: "TLS 1.0", tls.VersionTLS12: "TLS 1.2", tls.VersionTLS13: "TLS 1.3"} {
		t.Run(name, func(t *testing.T) {
			conf := ca.ServerConfig("some.other.name")
			conf.MinVersion, conf.MaxVersion = version, version
			piped(t, func(t *testing.T, o Options) {
				o.TLS.ServerName = mxName
				c := mustDial(t, o)
				if got := c.TLS(); got.GetVersion() != name || got.GetVerified() || got.GetPolicy() != "opportunistic" || got.GetCipherSuite() == "" {
					t.Errorf("got %v", got)
				}
				wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
				c.Quit()
			}, startTLS(conf, takeOne))
		})
	}
	t.Run("policies want 1.2", func(t *testing.T) {
		conf := ca.ServerConfig(mxName)
		conf.MinVersion, conf.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
		piped(t, func(t *testing.T, o Options) {
			o.TLS = TLSPolicy{Mode: TLSRequire, Word: "require"}
			failDial(t, o, smtpreply.StageTLS, smtpreply.ReasonTLSFailed, "4.7.5")
		}, startTLS(conf, takeOne))
	})
	t.Run("not offered", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			c := mustDial(t, o)
			if c.TLS().GetVersion() != "" || c.TLS().GetFinding() != "STARTTLS not offered" || c.ClearFallback() {
				t.Errorf("got %v", c.TLS())
			}
			c.Quit()
		}, func(s *smtptest.Conn) { s.Greet(mxName); s.Quit() })
	})
	t.Run("off", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			o.TLS = TLSPolicy{Mode: TLSOff, Word: "none"}
			mustDial(t, o).Quit()
		}, func(s *smtptest.Conn) { s.Greet(mxName, "STARTTLS"); s.Quit() })
	})
}

func TestS37_OpportunisticFallsBackToClear(t *testing.T) {
	t.Run("STARTTLS refused: same connection", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			c := mustDial(t, o)
			if !c.ClearFallback() || c.TLS().GetFinding() != "STARTTLS refused with 454, sent in clear" {
				t.Errorf("got %v", c.TLS())
			}
			wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
			c.Quit()
		}, func(s *smtptest.Conn) {
			s.Greet(mxName, "STARTTLS")
			s.Expect("STARTTLS")
			s.Send("454 4.7.0 no certificate today\r\n")
			s.Take()
			s.Quit()
		})
	})
	clear := func(s *smtptest.Conn) {
		s.Greet(mxName, "STARTTLS")
		s.Take()
		s.Quit()
	}
	for name, broken := range map[string]smtptest.Conversation{
		"no TLS behind 220": func(s *smtptest.Conn) {
			s.Greet(mxName, "STARTTLS")
			s.Expect("STARTTLS")
			s.Send("220 go\r\n")
			s.ReadN(5)
			s.Send("500 what is this?\r\n")
			s.Silent()
		},
		"hangs up": func(s *smtptest.Conn) {
			s.Greet(mxName, "STARTTLS")
			s.Expect("STARTTLS")
			s.Send("220 go\r\n")
			s.ReadN(5)
			s.Close()
		},
		"silent in the handshake": func(s *smtptest.Conn) {
			s.Greet(mxName, "STARTTLS")
			s.Expect("STARTTLS")
			s.Send("220 go\r\n")
			s.Silent()
		},
	} {
		t.Run(name+": a new connection", func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				c := mustDial(t, o)
				if !c.ClearFallback() || c.TLS().GetFinding() == "" || c.TLS().GetVersion() != "" {
					t.Errorf("got %v", c.TLS())
				}
				wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
				c.Quit()
			}, broken, clear)
		})
	}
	t.Run("under a policy never", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			o.TLS = TLSPolicy{Mode: TLSRequire, Word: "require"}
			_, fail := failDial(t, o, smtpreply.StageStartTLS, smtpreply.ReasonTLSFailed, "4.7.5")
			if fail.Code != 454 {
				t.Errorf("code %d", fail.Code)
			}
		}, func(s *smtptest.Conn) {
			s.Greet(mxName, "STARTTLS")
			s.Expect("STARTTLS")
			s.Send("454 4.7.0 no certificate today\r\n")
			s.Quit()
		})
	})
}

func TestS38_InputBehindSTARTTLS(t *testing.T) {
	for name, injected := range map[string]string{"a reply": "250 mx\r\n", "part of one": "250", "an EHLO reply": "250-mx\r\n250 AUTH PLAIN\r\n"} {
		t.Run(name, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) { // opportunistic, and still no clear text
				failDial(t, o, smtpreply.StageStartTLS, smtpreply.ReasonTLSInjection, "4.7.5")
			}, func(s *smtptest.Conn) {
				s.Greet(mxName, "STARTTLS")
				s.Expect("STARTTLS")
				s.Send("220 go\r\n" + injected)
				s.ExpectClosed()
			})
		})
	}
}

func TestS39_VerifiedTLS(t *testing.T) {
	ca, other := smtptest.NewCA(t), smtptest.NewCA(t)
	expired, err := ca.Issue(smtptest.CertOptions{
		Names: []string{mxName}, NotAfter: time.Date(1995, 1, 1, 0, 0, 0, 0, time.UTC),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("good", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			o.TLS = verifyPolicy(ca)
			c := mustDial(t, o)
			if !c.TLS().GetVerified() || c.TLS().GetPolicy() != "mta-sts" {
				t.Errorf("got %v", c.TLS())
			}
			wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
			c.Quit()
		}, startTLS(ca.ServerConfig("*.example.test"), takeOne))
	})
	for name, c := range map[string]struct {
		conf   *tls.Config
		detail string
	}{
		"wrong name":      {ca.ServerConfig("mail.example.test"), "the certificate is not for a name the policy allows"},
		"wrong authority": {other.ServerConfig(mxName), "the certificate is signed by an authority we do not trust"},
		"expired":         {&tls.Config{Certificates: []tls.Certificate{expired}}, "the certificate is not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				o.TLS = verifyPolicy(ca)
				_, fail := failDial(t, o, smtpreply.StageTLS, smtpreply.ReasonTLSFailed, "4.7.5")
				if fail.Detail != c.detail {
					t.Errorf("detail %q", fail.Detail)
				}
			}, startTLS(c.conf, func(s *smtptest.Conn) { s.Silent() }))
		})
	}
	t.Run("not offered", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			o.TLS = verifyPolicy(ca)
			failDial(t, o, smtpreply.StageStartTLS, smtpreply.ReasonTLSNotOffered, "4.7.4")
		}, func(s *smtptest.Conn) { s.Greet(mxName); s.Quit() })
	})
	t.Run("no name allowed", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			o.TLS = verifyPolicy(ca)
			o.TLS.Names = nil
			failDial(t, o, smtpreply.StageTLS, smtpreply.ReasonTLSFailed, "4.7.5")
		}, startTLS(ca.ServerConfig(mxName), func(s *smtptest.Conn) { s.Silent() }))
	})
}

func TestS40_DANE(t *testing.T) {
	ca, other := smtptest.NewCA(t), smtptest.NewCA(t)
	cert, err := ca.Issue(smtptest.CertOptions{Names: []string{mxName}, NotAfter: time.Date(1995, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	expired := &tls.Config{Certificates: []tls.Certificate{cert}}
	leafKey := sha256.Sum256(cert.Leaf.RawSubjectPublicKeyInfo)
	leafCert := sha512.Sum512(cert.Leaf.Raw)
	authority := sha256.Sum256(ca.Certificate.Raw)
	for name, c := range map[string]struct {
		conf  *tls.Config
		tlsa  []TLSA
		names []string
		good  bool
	}{
		"3 1 1, wrong name and date": {expired, []TLSA{{3, 1, 1, leafKey[:]}}, nil, true},
		"3 0 2":                      {expired, []TLSA{{3, 0, 2, leafCert[:]}}, nil, true},
		"3 0 0":                      {expired, []TLSA{{3, 0, 0, cert.Leaf.Raw}}, nil, true},
		"second record matches":      {expired, []TLSA{{3, 1, 1, make([]byte, 32)}, {3, 1, 1, leafKey[:]}}, nil, true},
		"3 1 1 of another key":       {expired, []TLSA{{3, 1, 1, make([]byte, 32)}}, nil, false},
		"3 names the authority":      {expired, []TLSA{{3, 0, 1, authority[:]}}, []string{mxName}, false},
		"2 0 1":                      {ca.ServerConfig(mxName), []TLSA{{2, 0, 1, authority[:]}}, []string{"example.test", mxName}, true},
		"2 0 1, wrong name":          {ca.ServerConfig(mxName), []TLSA{{2, 0, 1, authority[:]}}, []string{"other.example.test"}, false},
		"2 0 1, expired":             {expired, []TLSA{{2, 0, 1, authority[:]}}, []string{mxName}, false},
		"2 0 1, other chain":         {other.ServerConfig(mxName), []TLSA{{2, 0, 1, authority[:]}}, []string{mxName}, false},
		"no record":                  {ca.ServerConfig(mxName), nil, []string{mxName}, false},
		"usage 1 is none":            {ca.ServerConfig(mxName), []TLSA{{1, 1, 1, leafKey[:]}}, []string{mxName}, false},
	} {
		t.Run(name, func(t *testing.T) {
			then := func(s *smtptest.Conn) { s.Silent() }
			if c.good {
				then = takeOne
			}
			piped(t, func(t *testing.T, o Options) {
				o.TLS = TLSPolicy{Mode: TLSDane, Word: "dane", ServerName: mxName, Names: c.names, TLSA: c.tlsa}
				if !c.good {
					failDial(t, o, smtpreply.StageTLS, smtpreply.ReasonTLSFailed, "4.7.5")
					return
				}
				conn := mustDial(t, o)
				if !conn.TLS().GetVerified() {
					t.Error("not recorded as verified")
				}
				wantCodes(t, conn.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
				conn.Quit()
			}, startTLS(c.conf, then))
		})
	}
}

func TestS40_SNI(t *testing.T) {
	conf := smtptest.NewCA(t).ServerConfig(mxName)
	asked := make(chan string, 1)
	conf.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		asked <- h.ServerName
		return nil, nil
	}
	over(t, func(t *testing.T, o Options) {
		o.TLS.ServerName = "base.example.test"
		mustDial(t, o).Quit()
	}, startTLS(conf, func(s *smtptest.Conn) { s.Hello(mxName); s.Quit() }))
	if got := <-asked; got != "base.example.test" {
		t.Errorf("SNI %q", got)
	}
}

func TestVerifyNamesWithoutChain(t *testing.T) {
	if verifyNames(nil, x509.NewCertPool(), []string{mxName}) == nil || verifyDane(nil, []TLSA{{Usage: 3}}, nil) == nil {
		t.Error("no certificate was good enough")
	}
}
