// SPDX-License-Identifier: Apache-2.0

package allinone

import (
	"slices"
	"testing"
)

// TestR17_OwnSMTPListenerIsKnownToTheResolver: mail that would come back to our own listener is not sent there.
func TestR17_OwnSMTPListenerIsKnownToTheResolver(t *testing.T) {
	for listen, want := range map[string][]string{
		"":               {"192.0.2.1:25"},
		"127.0.0.1:2525": {"192.0.2.1:25", "127.0.0.1:2525"},
		":25":            {"192.0.2.1:25", ":25"},
		"[::1]:25":       {"192.0.2.1:25", "[::1]:25"},
		"127.0.0.1:0":    {"192.0.2.1:25"},
	} {
		t.Run(listen, func(t *testing.T) {
			c := Default()
			c.Resolver.OwnListeners, c.Gateway.SMTPListen = []string{"192.0.2.1:25"}, listen
			if listen != "" {
				c.Gateway.SMTPTrustedNetworks = []string{"127.0.0.1"}
			}
			own := c.joined()
			if got := own.Resolver.OwnListeners; !slices.Equal(got, want) {
				t.Errorf("own listeners %v, want %v", got, want)
			}
			if got := own.Sender.OwnListener; got != (len(want) > 1) {
				t.Errorf("the sender's rule for our own name: %t", got)
			}
			if err := own.Validate(); err != nil {
				t.Error(err)
			}
			if len(c.Resolver.OwnListeners) != 1 {
				t.Error("the configuration given was changed")
			}
		})
	}
}

func TestResolverLearnsThePortThatIsDialled(t *testing.T) {
	c := Default()
	c.Sender.SMTPPort = 2525
	if got := c.joined().Resolver.SMTPPort; got != 2525 {
		t.Errorf("resolver.smtp_port %d, want the sender's 2525", got)
	}
	c.Resolver.SMTPPort = 26
	if got := c.joined().Resolver.SMTPPort; got != 26 {
		t.Errorf("resolver.smtp_port %d, want 26 as configured", got)
	}
}
