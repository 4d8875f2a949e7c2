// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"testing"

	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/sasl"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/testkit/smtptest"
)

// loggingIn makes the walk one to a smarthost that is shown credentials.
func (w *walk) loggingIn(insecure bool) {
	w.mail.Smarthost = "relay.example.test"
	w.mail.Auth = &smtpclient.Auth{Credentials: sasl.Credentials{Username: "u", Password: "p"}, Insecure: insecure}
}

// auths holds a session up to the answer to AUTH.
func auths(reply string) smtptest.Conversation {
	return func(s *smtptest.Conn) {
		s.Greet("mx", "AUTH PLAIN")
		s.Expect("AUTH PLAIN")
		s.Send(reply + "\r\n")
		if reply[0] == '2' {
			s.Take()
		}
		s.Quit()
	}
}

// No other host is asked to judge credentials that one has refused: a slip must not lock an account everywhere.
func TestS44_RefusedCredentialsDeferAtOnce(t *testing.T) {
	for reply, want := range map[string]string{"535 5.7.8 no": "defer 4.7.8", "454 4.7.0 later": "defer 4.7.0"} {
		walking(t, network{"192.0.2.1": auths(reply)}, twoHosts, func(w *walk) {
			w.loggingIn(true)
			o := w.deliver()
			w.want(o, want, "mx1 192.0.2.1 defer")
			if o.Recipients[0].Host != "mx1" || o.Recipients[0].Reply.Code == 0 {
				t.Errorf("told by %q: %v", o.Recipients[0].Host, o.Recipients[0].Reply)
			}
		})
	}
	walking(t, network{"192.0.2.1": offers("AUTH NTLM")}, twoHosts, func(w *walk) {
		w.loggingIn(true)
		w.want(w.deliver(), "defer 4.7.0", "mx1 192.0.2.1 defer")
	})
}

func TestS44_AHostThatGoesAwayAtAUTHIsLeft(t *testing.T) {
	walking(t, network{
		"192.0.2.1": func(s *smtptest.Conn) {
			s.Greet("mx", "AUTH PLAIN")
			s.Expect("AUTH PLAIN")
		},
		"192.0.2.2": auths("235 ok"),
	}, twoHosts, func(w *walk) {
		w.loggingIn(true)
		w.want(w.deliver(), "delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
	})
}

// Credentials demand verification whatever else is said, by a name that DNS cannot forge.
func TestS43_PolicyForCredentials(t *testing.T) {
	for _, c := range []struct {
		name, host         string
		kind               resolverv1.TlsPolicyKind
		word               string
		optional, insecure bool
		want               smtpclient.TLSMode
		names              string
	}{
		{"nothing said", "relay.example.test", 0, "", false, false, smtpclient.TLSVerify, "relay.example.test"},
		{"a host below", "mx1.relay.example.test", 0, "", false, false, smtpclient.TLSVerify, "relay.example.test mx1.relay.example.test"},
		{"a host elsewhere", "mx1.evil.test", 0, "", false, false, smtpclient.TLSVerify, "relay.example.test"},
		{"TLS-Required: No", "relay.example.test", 0, "", true, false, smtpclient.TLSVerify, "relay.example.test"},
		{"the operator's word", "relay.example.test", 0, "off", false, false, smtpclient.TLSVerify, "relay.example.test"},
		{"R-44 verifies nothing", "relay.example.test", require, "", false, false, smtpclient.TLSVerify, "relay.example.test"},
		{"DANE", "mx1.elsewhere.test", dane, "", false, false, smtpclient.TLSDane, ""},
		{"MTA-STS vouches for the name", "mx1.elsewhere.test", mtaSTS, "", false, false, smtpclient.TLSVerify, "mx1.elsewhere.test"},
		{"explicitly allowed", "relay.example.test", 0, "", false, true, smtpclient.TLSOpportunistic, "relay.example.test"},
		{"an address", "", 0, "", false, false, smtpclient.TLSVerify, "relay.example.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &attempt{w: &Walker{}, mail: Mail{
				Message: &smtpclient.Message{}, TLS: c.word, TLSOptional: c.optional, Smarthost: "relay.example.test",
				Auth: &smtpclient.Auth{Insecure: c.insecure},
			}}
			p, fail := a.policy(&resolverv1.Host{Name: c.host, Tls: &resolverv1.TlsPolicy{Kind: c.kind}})
			names := ""
			for i, n := range p.Names {
				if i > 0 {
					names += " "
				}
				names += n
			}
			if fail != nil || p.Mode != c.want || names != c.names {
				t.Errorf("mode %d, names %q, %v; want %d, %q", p.Mode, names, fail, c.want, c.names)
			}
		})
	}
}

// A certificate for the smarthost's own address is good where it is named by its address.
func TestS43_CertificateForAnAddress(t *testing.T) {
	ca := smtptest.NewCA(t)
	for certificate, want := range map[string]string{"192.0.2.1": "delivered", "192.0.2.9": "defer 4.7.5"} {
		walking(t, network{"192.0.2.1": func(s *smtptest.Conn) {
			s.Greet("mx", "STARTTLS")
			s.Expect("STARTTLS")
			s.Send("220 go\r\n")
			if _, err := s.TryStartTLS(ca.ServerConfig(certificate)); err != nil || want != "delivered" {
				s.Silent()
				return
			}
			s.Hello("mx", "AUTH PLAIN")
			s.Expect("AUTH PLAIN")
			s.Send("235 ok\r\n")
			s.Take()
			s.Quit()
		}}, "- 0 192.0.2.1", func(w *walk) {
			w.loggingIn(false)
			w.mail.Smarthost, w.walker.Roots = "192.0.2.1", ca.Pool()
			o := w.deliver()
			if got := o.Recipients[0].Verdict.String(); got != want[:len(got)] {
				t.Errorf("%s: %s, %v", certificate, got, o.Recipients[0].Failure)
			}
		})
	}
}
