// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/testkit/smtptest"
)

// What answers the dot and is no 2yz, 4yz or 5yz reply leaves it open whether the host has taken the message.
func TestS63_AnAnswerToTheDotThatSaysNothing(t *testing.T) {
	for name, answer := range map[string]string{
		"354": "354 go on\r\n", "334": "334 \r\n", "no reply": "OK queued\r\n", "codes differ": "250-queued\r\n550 not\r\n",
		"line too long": "250 " + strings.Repeat("x", 5000) + "\r\n", "first digit": "650 what\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			sending(t, to("a@example.test"), func(s *smtptest.Conn) {
				s.Envelope()
				s.ReadData()
				_ = s.TrySend(answer) // the client hangs up in the middle of a line that is too long
				if end := s.Silent(); end.Total != 0 {
					s.Fail("the client said %q", end.Rest)
				}
			}, func(t *testing.T, c *Conn, r *Result) {
				check(t, r.Recipients[0].Failure, smtpreply.StageDot, smtpreply.ReasonAmbiguous, "4.5.0")
				if c.Usable() {
					t.Error("usable")
				}
			})
		})
	}
}

// Whatever a host offers, content goes by DATA and is not declared binary.
func TestS69_NeitherChunkingNorBinary(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		m := newMessage("From: <a@example.test>\r\n\r\n\xfc\r\n", "a@example.test")
		m.EightBit = true
		wantCodes(t, c.Send(t.Context(), m), "taken")
		c.Quit()
	}, func(s *smtptest.Conn) {
		s.Greet(mxName, "CHUNKING", "BINARYMIME", "8BITMIME", "PIPELINING")
		if mail, _ := s.Envelope(); !strings.HasSuffix(mail, "BODY=8BITMIME") {
			s.Fail("%s", mail)
		}
		s.ReadData()
		s.Send("250 2.0.0 queued\r\n")
		s.Quit()
	})
}
