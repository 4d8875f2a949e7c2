// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"testing"

	"github.com/postrider/postrider/testkit/smtptest"
)

func TestS61_TakenByTheReplyToTheDot(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		r := c.Send(t.Context(), newMessage(body, "a@example.test", "b@example.test"))
		wantCodes(t, r, "taken taken")
		if got := r.Recipients[0].Reply.String(); got != "250 2.0.0 queued" {
			t.Errorf("reply %q", got)
		}
		if !c.Usable() {
			t.Error("the session cannot be used again")
		}
		c.Quit()
	}, func(s *smtptest.Conn) {
		s.Greet("mx.example.test", "PIPELINING")
		if got := s.Take(); string(got) != body {
			s.Fail("message %q", got)
		}
		s.Quit()
	})
}
