// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"strings"
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/testkit/smtptest"
)

const (
	opportunistic = resolverv1.TlsPolicyKind_TLS_POLICY_KIND_OPPORTUNISTIC
	require       = resolverv1.TlsPolicyKind_TLS_POLICY_KIND_REQUIRE
	mtaSTS        = resolverv1.TlsPolicyKind_TLS_POLICY_KIND_MTA_STS
	dane          = resolverv1.TlsPolicyKind_TLS_POLICY_KIND_DANE
)

func TestS36_S39_S40_S41_S42_WhichPolicyHolds(t *testing.T) {
	for _, c := range []struct {
		name                 string
		kind                 resolverv1.TlsPolicyKind
		word                 string // the operator's
		requireTLS, optional bool
		want                 smtpclient.TLSMode
		wantWord             string // "" means: refused by S-41
	}{
		{"none found", 0, "", false, false, smtpclient.TLSOpportunistic, "opportunistic"},
		{"opportunistic", opportunistic, "", false, false, smtpclient.TLSOpportunistic, "opportunistic"},
		{"R-44", require, "", false, false, smtpclient.TLSRequire, "require"},
		{"S-39", mtaSTS, "", false, false, smtpclient.TLSVerify, "mta-sts"},
		{"S-40", dane, "", false, false, smtpclient.TLSDane, "dane"},
		{"off", opportunistic, "off", false, false, smtpclient.TLSOff, "none"},
		{"off against a policy", dane, "off", false, false, smtpclient.TLSOff, "none"},
		{"opportunistic against a policy", mtaSTS, "opportunistic", false, false, smtpclient.TLSOpportunistic, "opportunistic"},
		{"require", opportunistic, "require", false, false, smtpclient.TLSRequire, "require"},
		{"require does not weaken", mtaSTS, "require", false, false, smtpclient.TLSVerify, "mta-sts"},
		{"verify", opportunistic, "verify", false, false, smtpclient.TLSVerify, "verify"},
		{"verify does not replace DANE", dane, "verify", false, false, smtpclient.TLSDane, "dane"},
		{"S-41 by DANE", dane, "", true, false, smtpclient.TLSDane, "requiretls"},
		{"S-41 by MTA-STS, whatever the operator says", mtaSTS, "off", true, false, smtpclient.TLSVerify, "requiretls"},
		{"S-41 without policy", opportunistic, "verify", true, false, 0, ""},
		{"S-42", dane, "", false, true, smtpclient.TLSOpportunistic, "opportunistic"},
		{"S-42 loses to S-41", dane, "", true, true, smtpclient.TLSDane, "requiretls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := &resolverv1.Host{Name: "mx1.example.test", Tls: &resolverv1.TlsPolicy{
				Kind: c.kind, Sni: "sni.example.test", ReferenceNames: []string{"ref.example.test"},
				Tlsa: []*resolverv1.TlsaRecord{{Usage: 3, Selector: 1, MatchingType: 1, Data: []byte("x")}, {Usage: 300}},
			}}
			a := &attempt{w: &Walker{}, mail: Mail{
				Message: &smtpclient.Message{RequireTLS: c.requireTLS}, TLS: c.word, TLSOptional: c.optional,
			}}
			p, fail := a.policy(host)
			if (fail != nil) != (c.wantWord == "") {
				t.Fatalf("failure %v", fail)
			}
			if fail != nil {
				if got := fail.RecordedStatus().String(); got != "5.7.10" {
					t.Errorf("status %s", got)
				}
				return
			}
			if p.Mode != c.want || p.Word != c.wantWord {
				t.Errorf("mode %d %q, want %d %q", p.Mode, p.Word, c.want, c.wantWord)
			}
			if p.Mode == smtpclient.TLSDane && (p.Names[0] != "ref.example.test" || len(p.TLSA) != 2 || p.TLSA[1].Usage != 255) {
				t.Errorf("DANE %+v", p)
			}
			if p.Mode == smtpclient.TLSVerify && p.Names[0] != "mx1.example.test" {
				t.Errorf("names %q", p.Names)
			}
			if p.Mode != smtpclient.TLSOff && p.ServerName != "sni.example.test" {
				t.Errorf("SNI %q", p.ServerName)
			}
		})
	}
}

func TestS39_NextHostWhenTheCertificateDoesNotFit(t *testing.T) {
	ca := smtptest.NewCA(t)
	bad := ca.ServerConfig("other.example.test")
	good := ca.ServerConfig("mx2")
	withTLS := func(s *smtptest.Conn) {
		s.Greet("mx", "STARTTLS")
		s.Expect("STARTTLS")
		s.Send("220 go\r\n")
	}
	walking(t, network{
		"192.0.2.1": func(s *smtptest.Conn) {
			withTLS(s)
			_, _ = s.TryStartTLS(bad)
			s.Silent()
		},
		"192.0.2.2": func(s *smtptest.Conn) {
			withTLS(s)
			s.StartTLS(good)
			s.Hello("mx")
			s.Take()
			s.Quit()
		},
	}, twoHosts, func(w *walk) {
		w.walker.Roots = ca.Pool()
		for _, host := range w.route.Hosts {
			host.Tls = &resolverv1.TlsPolicy{Kind: mtaSTS, Finding: "policy id 1"}
		}
		o := w.deliver()
		w.want(o, "delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
		if got := o.Tries[0].GetFailure(); got.GetReason() != "tls_failed" || got.GetStage() != eventv1.Stage_STAGE_TLS {
			t.Errorf("left for %v", got)
		}
		if got := o.Tries[1].GetTls(); !got.GetVerified() || got.GetPolicy() != "mta-sts" || got.GetFinding() != "policy id 1" {
			t.Errorf("TLS %v", got)
		}
	})
}

func TestS39_NoClearTextUnderAPolicy(t *testing.T) {
	walking(t, network{"192.0.2.1": offers(), "192.0.2.2": offers("PIPELINING")}, twoHosts, func(w *walk) {
		for _, host := range w.route.Hosts {
			host.Tls = &resolverv1.TlsPolicy{Kind: require}
		}
		w.want(w.deliver(), "defer 4.7.4", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 defer")
	})
}

func TestS41_RequireTLSWithoutPolicyConnectsNowhere(t *testing.T) {
	walking(t, network{}, twoHosts, func(w *walk) {
		w.mail.Message.RequireTLS = true
		o := w.deliver()
		w.want(o, "bounce 5.7.10", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 bounce")
		if len(w.dialled) != 0 {
			t.Errorf("dialled %q", w.dialled)
		}
	})
}

// A host that gives its whole EHLO reply and no STARTTLS in it can never take the message; one that could not be asked
// might.
func TestS41_RequireTLSWithoutSTARTTLS(t *testing.T) {
	ca := smtptest.NewCA(t)
	for name, c := range map[string]struct {
		second  any
		want    string
		leftFor string
	}{
		"no host offers it":   {offers("PIPELINING"), "bounce 5.7.10", "bounce"},
		"one was not reached": {refused, "defer 4.7.10", "defer"},
		"one gave no EHLO reply": {func(s *smtptest.Conn) {
			s.Send("220 mx\r\n")
			s.Expect("EHLO")
		}, "defer 4.7.10", "defer"},
		"one lacks the keyword": {func(s *smtptest.Conn) {
			s.Greet("mx", "STARTTLS")
			s.Expect("STARTTLS")
			s.Send("220 go\r\n")
			s.StartTLS(ca.ServerConfig("mx2"))
			s.Hello("mx")
			s.Quit()
		}, "bounce 5.7.30", "bounce"},
	} {
		t.Run(name, func(t *testing.T) {
			walking(t, network{"192.0.2.1": offers("REQUIRETLS"), "192.0.2.2": c.second}, twoHosts, func(w *walk) {
				w.walker.Roots = ca.Pool()
				for _, host := range w.route.Hosts {
					host.Tls = &resolverv1.TlsPolicy{Kind: mtaSTS}
				}
				w.mail.Message.RequireTLS = true
				w.want(w.deliver(), c.want, "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 "+c.leftFor)
			})
		})
	}
}

func TestS42_WaivedPolicyIsRecorded(t *testing.T) {
	walking(t, network{"192.0.2.1": takes}, twoHosts, func(w *walk) {
		w.mail.TLSOptional = true
		w.route.Hosts[0].Tls = &resolverv1.TlsPolicy{Kind: mtaSTS}
		o := w.deliver()
		w.want(o, "delivered", "mx1 192.0.2.1 delivered")
		if got := o.Tries[0].GetTls().GetFinding(); !strings.Contains(got, "policy not enforced: TLS-Required: No") {
			t.Errorf("finding %q", got)
		}
	})
}

func TestS50_MailRefusedInClearAfterFailedTLS(t *testing.T) {
	walking(t, network{
		"192.0.2.1": func(s *smtptest.Conn) {
			s.Greet("mx", "STARTTLS")
			s.Expect("STARTTLS")
			s.Send("454 4.7.0 no\r\n")
			s.Expect("MAIL")
			s.Send("550 5.7.0 TLS needed\r\n")
			s.Quit()
		},
		"192.0.2.2": takes,
	}, twoHosts, func(w *walk) {
		w.want(w.deliver(), "delivered", "mx1 192.0.2.1 next_host", "mx2 192.0.2.2 delivered")
	})
}
