// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bytes"
	"strings"
	"testing"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/testkit/smtptest"
)

// envelope sends m to a host with these extensions and gives MAIL and RCPT as they came.
func envelope(t *testing.T, m *Message, extensions ...string) (mail string, rcpts []string, r *Result) {
	t.Helper()
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		r = c.Send(t.Context(), m)
		c.Quit()
	}, func(s *smtptest.Conn) {
		s.Greet(mxName, extensions...)
		mail, rcpts = s.Envelope()
		s.ReadData()
		s.Send("250 ok\r\n")
		s.Quit()
	})
	return mail, rcpts, r
}

// refusedBefore sends m to a host with these extensions, which must not see MAIL.
func refusedBefore(t *testing.T, m *Message, extensions ...string) *smtpreply.Error {
	t.Helper()
	var fail *smtpreply.Error
	piped(t, func(t *testing.T, o Options) {
		c := mustDial(t, o)
		fail = c.Send(t.Context(), m).Recipients[0].Failure
		c.Quit()
	}, func(s *smtptest.Conn) {
		s.Greet(mxName, extensions...)
		s.Quit()
	})
	return fail
}

func TestS45_SizeAnnounced(t *testing.T) {
	fail := refusedBefore(t, newMessage(body, "a@example.test"), "SIZE 44")
	check(t, fail, smtpreply.StageEhlo, smtpreply.ReasonSize, "5.3.4")
	if fail.Detail != "the message has 45 octets and the host takes at most 44" {
		t.Errorf("detail %q", fail.Detail)
	}
	for _, extension := range []string{"SIZE 45", "SIZE", "SIZE 0", "SIZE 99999999999999999999", "SIZE x"} {
		_, _, r := envelope(t, newMessage(body, "a@example.test"), extension)
		wantCodes(t, r, "taken")
	}
}

func TestS46_SizeIsSaid(t *testing.T) {
	content := ".dot\r\n.dot\r\n"
	mail, _, _ := envelope(t, newMessage(content, "a@example.test"), "SIZE 1000")
	if want := "MAIL FROM:<sender@example.test> SIZE=12"; mail != want {
		t.Errorf("got %q, want %q", mail, want)
	}
	mail, _, _ = envelope(t, newMessage(content, "a@example.test"))
	if want := "MAIL FROM:<sender@example.test>"; mail != want {
		t.Errorf("got %q, want %q", mail, want)
	}
}

func TestS41_RequireTLSKeyword(t *testing.T) {
	m := newMessage(body, "a@example.test")
	m.RequireTLS = true
	check(t, refusedBefore(t, m), smtpreply.StageEhlo, smtpreply.ReasonRequireTLSKeyword, "5.7.30")
	mail, _, _ := envelope(t, m, "REQUIRETLS")
	if want := "MAIL FROM:<sender@example.test> REQUIRETLS"; mail != want {
		t.Errorf("got %q, want %q", mail, want)
	}
}

func TestS67_EightBit(t *testing.T) {
	m := newMessage("Subject: x\r\n\r\ncaf\xe9\r\n", "a@example.test")
	m.EightBit = true
	check(t, refusedBefore(t, m, "SMTPUTF8"), smtpreply.StageEhlo, smtpreply.ReasonEightBit, "5.6.3")
	mail, _, r := envelope(t, m, "8BITMIME")
	if want := "MAIL FROM:<sender@example.test> BODY=8BITMIME"; mail != want {
		t.Errorf("got %q, want %q", mail, want)
	}
	wantCodes(t, r, "taken")
	mail, _, _ = envelope(t, newMessage(body, "a@example.test"), "8BITMIME")
	if strings.Contains(mail, "BODY") {
		t.Errorf("7-bit content announced as %q", mail)
	}
	t.Run("a host that answers HELO only gets it as it is", func(t *testing.T) {
		piped(t, func(t *testing.T, o Options) {
			c := mustDial(t, o)
			wantCodes(t, c.Send(t.Context(), m), "taken")
			c.Quit()
		}, func(s *smtptest.Conn) {
			s.Send("220 old\r\n")
			answers(s, "EHLO", "500 what?", "HELO", "250 old")
			if got := s.Take(); !bytes.Contains(got, []byte("caf\xe9")) {
				s.Fail("got %q", got)
			}
			s.Quit()
		})
	})
}

func TestS68_SMTPUTF8(t *testing.T) {
	utf8 := func(from string, to ...string) *Message {
		m := newMessage(body, to...)
		m.From, m.UTF8 = from, true
		return m
	}
	mail, rcpts, _ := envelope(t, utf8("jürgen@example.test", "用户@例子.test"), "SMTPUTF8", "8BITMIME")
	if mail != "MAIL FROM:<jürgen@example.test> SMTPUTF8" || rcpts[0] != "RCPT TO:<用户@例子.test>" {
		t.Errorf("got %q, %q", mail, rcpts)
	}
	check(t, refusedBefore(t, utf8("a@example.test", "用户@例子.test")), smtpreply.StageEhlo, smtpreply.ReasonSMTPUTF8, "5.6.7")
	check(t, refusedBefore(t, utf8("jürgen@example.test", "a@example.test")), smtpreply.StageEhlo, smtpreply.ReasonSMTPUTF8, "5.6.7")

	t.Run("domains go as A-labels", func(t *testing.T) {
		m := utf8("a@bücher.test", "b@例子.test")
		m.HeaderSize = int64(len(body) - len("hello\r\n"))
		mail, rcpts, _ := envelope(t, m)
		if mail != "MAIL FROM:<a@xn--bcher-kva.test>" || rcpts[0] != "RCPT TO:<b@xn--fsqu00a.test>" {
			t.Errorf("got %q, %q", mail, rcpts)
		}
	})
	t.Run("a header that is not ASCII does not", func(t *testing.T) {
		content := "Subject: gr\u00fc\u00dfe\r\n\r\nx\r\n"
		m := newMessage(content, "b@例子.test")
		m.UTF8, m.HeaderSize = true, int64(strings.Index(content, "\r\n\r\n")+4)
		check(t, refusedBefore(t, m), smtpreply.StageEhlo, smtpreply.ReasonSMTPUTF8, "5.6.7")
	})
	t.Run("unknown header", func(t *testing.T) {
		check(t, refusedBefore(t, utf8("a@example.test", "b@例子.test")), smtpreply.StageEhlo, smtpreply.ReasonSMTPUTF8, "5.6.7")
	})
}

func TestS70_DSNParameters(t *testing.T) {
	m := newMessage(body, "a@example.test", "b@example.test")
	m.Ret, m.EnvID = "FULL", "id +1"
	m.Recipients[0].Notify, m.Recipients[0].ORcptType, m.Recipients[0].ORcpt = "SUCCESS,FAILURE", "rfc822", "orig+x@example.test"
	mail, rcpts, r := envelope(t, m, "DSN")
	if want := "MAIL FROM:<sender@example.test> RET=FULL ENVID=id+20+2B1"; mail != want {
		t.Errorf("got %q, want %q", mail, want)
	}
	if want := "RCPT TO:<a@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;orig+2Bx@example.test"; rcpts[0] != want {
		t.Errorf("got %q, want %q", rcpts[0], want)
	}
	if want := "RCPT TO:<b@example.test>"; rcpts[1] != want {
		t.Errorf("got %q, want %q", rcpts[1], want)
	}
	if !r.DSN {
		t.Error("not said to be passed on")
	}
	mail, rcpts, r = envelope(t, m)
	if strings.ContainsAny(mail+strings.Join(rcpts, ""), "=") || r.DSN {
		t.Errorf("without DSN: %q, %q, %t", mail, rcpts, r.DSN)
	}
}

func TestNullSender(t *testing.T) {
	m := newMessage(body, "a@example.test")
	m.From = ""
	if mail, _, _ := envelope(t, m); mail != "MAIL FROM:<>" {
		t.Errorf("got %q", mail)
	}
}

// What could become a command of its own never goes out.
func TestEnvelopeThatCannotBeSent(t *testing.T) {
	for name, change := range map[string]func(*Message){
		"CRLF in the sender":   func(m *Message) { m.From = "a@example.test>\r\nRSET\r\nMAIL FROM:<b@example.test" },
		"LF in a recipient":    func(m *Message) { m.Recipients[0].Address = "a\n@example.test" },
		"bracket":              func(m *Message) { m.Recipients[0].Address = "a@example.test> NOTIFY=NEVER" },
		"empty recipient":      func(m *Message) { m.Recipients[0].Address = "" },
		"no recipient":         func(m *Message) { m.Recipients = nil },
		"blank in NOTIFY":      func(m *Message) { m.Recipients[0].Notify = "NEVER X" },
		"CRLF in RET":          func(m *Message) { m.Ret = "FULL\r\n" },
		"CRLF in ORCPT's type": func(m *Message) { m.Recipients[0].ORcptType = "rfc822;\r\n" },
	} {
		m := newMessage(body, "a@example.test")
		change(m)
		fail := (&Conn{}).CanTake(m)
		check(t, fail, smtpreply.StageLocal, smtpreply.ReasonInternal, "5.1.3")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	m := newMessage(body, `"a b>"@example.test`) // quoted, so good
	if fail := (&Conn{}).CanTake(m); fail != nil {
		t.Errorf("quoted local part: %v", fail)
	}
}
