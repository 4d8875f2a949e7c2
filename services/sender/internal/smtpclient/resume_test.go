// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"crypto/tls"
	"sync"
	"testing"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/testkit/smtptest"
)

// oneSession keeps the session put last, as package pool does for sessions that are alike.
type oneSession struct {
	mu    sync.Mutex
	state *tls.ClientSessionState
}

func (s *oneSession) Get(string) (*tls.ClientSessionState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.state != nil
}

func (s *oneSession) Put(_ string, state *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

// asServer tells of each session whether it was resumed.
func asServer(conf *tls.Config, resumed *[]bool) smtptest.Conversation {
	return func(s *smtptest.Conn) {
		s.Greet(mxName, "STARTTLS")
		s.Expect("STARTTLS")
		s.Send("220 go ahead\r\n")
		state := s.StartTLS(conf)
		*resumed = append(*resumed, state.DidResume)
		takeOne(s)
	}
}

func TestS36_TLSSessionsAreResumed(t *testing.T) {
	ca := smtptest.NewCA(t)
	for name, policy := range map[string]TLSPolicy{
		"opportunistic": {Mode: TLSOpportunistic}, "verified": verifyPolicy(ca), "without a name": {Mode: TLSRequire},
	} {
		for version, most := range map[string]uint16{"1.3": tls.VersionTLS13, "1.2": tls.VersionTLS12} {
			t.Run(name+" "+version, func(t *testing.T) {
				conf := ca.ServerConfig(mxName)
				conf.MaxVersion = most
				var resumed []bool
				policy.Sessions = &oneSession{}
				over(t, func(t *testing.T, o Options) {
					o.TLS = policy
					for range 2 {
						c := mustDial(t, o)
						wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
						if got := c.TLS().GetVerified(); got != (policy.Mode == TLSVerify) {
							t.Errorf("verified %t", got)
						}
						c.Quit()
					}
				}, asServer(conf, &resumed), asServer(conf, &resumed))
				if len(resumed) != 2 || resumed[0] || !resumed[1] {
					t.Errorf("resumed: %v", resumed)
				}
			})
		}
	}
}

// A session that was let in without verification opens no door where verification is demanded.
func TestS39_AResumedSessionIsVerifiedToo(t *testing.T) {
	stranger := smtptest.NewCA(t).ServerConfig(mxName)
	sessions := &oneSession{}
	over(t, func(t *testing.T, o Options) {
		o.TLS = TLSPolicy{Mode: TLSOpportunistic, ServerName: mxName, Sessions: sessions}
		c := mustDial(t, o)
		wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
		c.Quit()
		o.TLS = verifyPolicy(smtptest.NewCA(t))
		o.TLS.Sessions = sessions
		failDial(t, o, smtpreply.StageTLS, smtpreply.ReasonTLSFailed, "4.7.5")
	}, startTLS(stranger, takeOne), startTLS(stranger, func(s *smtptest.Conn) { s.Silent() }),
		startTLS(stranger, func(s *smtptest.Conn) { s.Silent() })) // resumed, and then with a full handshake
}

// A host that cannot resume what it once agreed to is not sent clear text for that.
func TestS37_ABrokenResumptionIsNoReasonForClearText(t *testing.T) {
	conf := smtptest.NewCA(t).ServerConfig(mxName)
	hangsUp := func(s *smtptest.Conn) {
		s.Greet(mxName, "STARTTLS")
		s.Expect("STARTTLS")
		s.Send("220 go\r\n")
		s.ReadN(5)
	}
	over(t, func(t *testing.T, o Options) {
		o.TLS = TLSPolicy{Mode: TLSOpportunistic, ServerName: mxName, Sessions: &oneSession{}}
		for range 2 {
			c := mustDial(t, o)
			wantCodes(t, c.Send(t.Context(), newMessage(body, "a@example.test")), "taken")
			if c.ClearFallback() {
				t.Error("sent in clear")
			}
			c.Quit()
		}
	}, startTLS(conf, takeOne), hangsUp, startTLS(conf, takeOne))
}
