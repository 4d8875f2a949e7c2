// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/testkit/smtptest"
)

func TestTranscriptIsRedactedAndBounded(t *testing.T) {
	var log transcript
	for line, want := range map[string]string{
		"EHLO client.example.test\r\n":                                      "C: EHLO client.example.test",
		"MAIL FROM:<alice@example.test> SIZE=5 ENVID=x\r\n":                 "C: MAIL FROM:<…@example.test> SIZE=5 ENVID=x",
		"MAIL FROM:<>\r\n":                                                  "C: MAIL FROM:<>",
		"RCPT TO:<\"a>b\"@x.test> NOTIFY=NEVER ORCPT=rfc822;bob@x.test\r\n": "C: RCPT TO:<…@x.test> NOTIFY=NEVER ORCPT=…",
		"RCPT TO:<j\xc3\xbcrgen@x.test>\r\n":                                "C: RCPT TO:<…@x.test>",
		"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n":                               "C: AUTH PLAIN …",
	} {
		log = transcript{}
		log.command([]byte(line))
		if got := log.lines()[0]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	log = transcript{}
	for i := range 500 {
		log.command(fmt.Appendf(nil, "RCPT TO:<r%d@x.test>\r\n", i))
		log.reply(rawReply{code: 250, texts: []string{strings.Repeat("é", 2000), "b", "c", "d"}})
	}
	lines := log.lines()
	if len(lines) != transcriptLines+1 || lines[transcriptLines/2] != "* (940 lines left out)" {
		t.Errorf("%d lines, in the middle %q", len(lines), lines[transcriptLines/2])
	}
	for _, line := range lines {
		if len(line) > transcriptLine+20 || !strings.Contains(line, " ") {
			t.Errorf("line %q", line)
		}
	}
}

func TestTranscriptOfAFailedSession(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		wantCodes(t, c.Send(t.Context(), newMessage(body, "bob@example.test")), "451")
		c.Quit()
		want := []string{
			"S: 220 mx.example.test ESMTP", "C: EHLO client.example.test", "S: 250 mx.example.test",
			"C: MAIL FROM:<…@example.test>", "S: 250 2.1.0 sender ok", "C: RCPT TO:<…@example.test>",
			"S: 250 2.1.5 recipient ok", "C: DATA", "S: 354 go ahead", "S: 451 4.3.0 later", "C: QUIT",
		}
		if got := c.Transcript(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}, func(s *smtptest.Conn) {
		s.Greet(mxName)
		s.Envelope()
		s.ReadData()
		s.Send("451 4.3.0 later\r\n")
		s.Quit()
	})
}

func TestTranscriptTellsOfEveryConnection(t *testing.T) {
	piped(t, func(t *testing.T, o Options) {
		c, _ := Dial(t.Context(), o)
		text := strings.Join(c.Transcript(), "\n")
		if !strings.Contains(text, "C: EHLO") || !strings.Contains(text, "C: HELO") {
			t.Errorf("got\n%s", text)
		}
	}, func(s *smtptest.Conn) {
		s.Send("220 a\r\n")
		s.Expect("EHLO")
	}, func(s *smtptest.Conn) {
		s.Send("220 a\r\n")
		s.Expect("HELO")
		s.Send("451 no\r\n")
		s.Quit()
	})
}
