// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestHostHooks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		opts HostOptions
		talk func(c *client)
	}{
		{"greeting", HostOptions{Greeting: "554 go away\r\n"}, func(c *client) { c.want("554 go away\r\n") }},
		{
			"connect",
			HostOptions{OnConnect: func(i *ConnInfo) string { return fmt.Sprintf("421 %d", i.ID) }},
			func(c *client) { c.want("421 1\r\n"); _ = c.end() },
		},
		{"hello", HostOptions{OnHello: func(verb, _ string) string {
			if verb == "EHLO" {
				return "502 5.5.1 no"
			}
			return ""
		}}, func(c *client) {
			c.want("220")
			c.cmd("EHLO c", "502")
			c.cmd("HELO c", "250 mx.example.test\r\n")
			c.cmd("MAIL FROM:<a@x.test>", "250")
		}},
		{"mail", HostOptions{OnMail: func(a string, p []string) string {
			return fmt.Sprintf("451 4.3.0 %s %s", a, p)
		}}, func(c *client) {
			c.want("220")
			c.cmd("EHLO c", "250")
			c.cmd("MAIL FROM:<a@x.test> BODY=8BITMIME", "451 4.3.0 a@x.test [BODY=8BITMIME]\r\n")
			c.cmd("RCPT TO:<b@x.test>", "503")
		}},
		{"rcpt", HostOptions{OnRcpt: func(a string, _ []string) string {
			if a == "no@x.test" {
				return "550-5.1.1 no\r\n550 5.1.1 such user"
			}
			return ""
		}}, func(c *client) {
			c.want("220")
			c.cmd("EHLO c", "250")
			c.cmd("MAIL FROM:<a@x.test>", "250")
			c.cmd("RCPT TO:<no@x.test>", "550-5.1.1 no\r\n550 5.1.1 such user\r\n")
			c.cmd("DATA", "503")
			c.cmd("RCPT TO:<yes@x.test>", "250")
			c.cmd("DATA", "354")
		}},
		{"data", HostOptions{OnData: func(from string, to []Recipient) string {
			return fmt.Sprintf("452 4.3.1 %s %d", from, len(to))
		}}, func(c *client) {
			c.want("220")
			c.cmd("EHLO c", "250")
			c.cmd("MAIL FROM:<a@x.test>", "250")
			c.cmd("RCPT TO:<b@x.test>", "250")
			c.cmd("DATA", "452 4.3.1 a@x.test 1\r\n")
		}},
		{"other", HostOptions{OnOther: func(verb, arg string, ask func(string) (string, bool)) string {
			if verb != "AUTH" {
				return ""
			}
			line, ok := ask("334 ")
			return fmt.Sprintf("235 2.7.0 %s %s %v", arg, line, ok)
		}}, func(c *client) {
			c.want("220")
			c.cmd("AUTH PLAIN", "334")
			c.cmd("secret", "235 2.7.0 PLAIN secret true\r\n")
			c.cmd("NOOP", "250")
		}},
		{"close", HostOptions{OnMail: func(string, []string) string { return CloseNow }}, func(c *client) {
			c.want("220")
			c.cmd("EHLO c", "250")
			c.send("MAIL FROM:<a@x.test>\r\n")
			if err := c.end(); err != nil {
				c.t.Errorf("want end of file, got %v", err)
			}
		}},
		{"reset", HostOptions{OnMail: func(string, []string) string { return ResetNow }}, func(c *client) {
			c.want("220")
			c.cmd("EHLO c", "250")
			c.send("MAIL FROM:<a@x.test>\r\n")
			if err := c.end(); !errors.Is(err, syscall.ECONNRESET) {
				c.t.Errorf("want a reset, got %v", err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.talk(dial(t, NewHost(t, tc.opts).Addr()))
		})
	}
}

func TestHostSilentGreeting(t *testing.T) {
	t.Parallel()
	h := NewHost(t, HostOptions{SilentGreeting: true})
	c := dial(t, h.Addr())
	if err := h.WaitFor(t.Context(), func(n Counts) bool { return n.Open == 1 }); err != nil {
		t.Fatal(err)
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.conn.Read(make([]byte, 1)); n != 0 || closeKind(err) != ClosedLimit {
		t.Fatalf("read %d octets, %v from a silent host", n, err)
	}
	_ = c.conn.Close()
	info := h.WaitClosed(1, patience)[0]
	if info.Closed != ClosedFIN || !info.ClosedAt.After(info.AcceptedAt) {
		t.Errorf("connection %+v", info)
	}
}

func TestHostDuringData(t *testing.T) {
	t.Parallel()
	h := NewHost(t, HostOptions{DuringData: func(_ string, n int64) string {
		if n < 1000 {
			return ""
		}
		return "552 5.3.4 too big"
	}})
	c := dial(t, h.Addr())
	c.want("220")
	c.cmd("EHLO c", "250")
	c.cmd("MAIL FROM:<a@x.test>", "250")
	c.cmd("RCPT TO:<b@x.test>", "250")
	c.cmd("DATA", "354")
	c.send(strings.Repeat("0123456789\r\n", 100))
	c.want("552 5.3.4 too big")
	_ = c.conn.(*net.TCPConn).SetLinger(0)
	_ = c.conn.Close()
	if info := h.WaitClosed(1, patience)[0]; info.Closed != ClosedReset || info.Messages != 0 {
		t.Errorf("connection %+v", info)
	}
}

func TestHostOnDot(t *testing.T) {
	t.Parallel()
	replies := map[string]string{"a@x.test": "554 5.7.1 no", "b@x.test": NoReply, "c@x.test": ""}
	h := NewHost(t, HostOptions{OnDot: func(m *Message) string {
		if len(m.Data) == 0 {
			t.Error("the hook saw no data")
		}
		return replies[m.From]
	}})
	for from, want := range map[string]string{"a@x.test": "554", "c@x.test": "250"} {
		c := dial(t, h.Addr())
		c.want("220")
		c.cmd("EHLO c", "250")
		c.cmd("MAIL FROM:<"+from+">", "250")
		c.cmd("RCPT TO:<z@x.test>", "250")
		c.cmd("DATA", "354")
		c.send("x\r\n.\r\n")
		c.want(want)
		_ = c.conn.Close()
	}
	c := dial(t, h.Addr())
	c.want("220")
	c.cmd("EHLO c", "250")
	c.send("MAIL FROM:<b@x.test>\r\nRCPT TO:<z@x.test>\r\nDATA\r\n")
	c.want("250")
	c.want("250")
	c.want("354")
	c.send("x\r\n.\r\n")
	if err := h.WaitFor(t.Context(), func(n Counts) bool { return n.Refused == 2 }); err != nil {
		t.Fatal(err)
	}
	_ = c.conn.Close()
	h.WaitClosed(3, patience)
	if got := h.Messages(); len(got) != 1 || got[0].From != "c@x.test" || !got[0].Accepted() {
		t.Errorf("messages %+v", got)
	}
	for _, m := range h.Refused() {
		if m.From == "a@x.test" && m.Reply != "554 5.7.1 no" || m.From == "b@x.test" && m.Reply != "" {
			t.Errorf("refused %+v", m)
		}
	}
}

// TestHookAskAfterTheEnd tells a hook that its client has gone in the middle of its dialogue.
func TestHookAskAfterTheEnd(t *testing.T) {
	t.Parallel()
	told := make(chan bool, 1)
	h := NewHost(t, HostOptions{OnOther: func(_, _ string, ask func(string) (string, bool)) string {
		_, ok := ask("334 ")
		told <- ok
		return "501 5.5.2 cancelled"
	}})
	c := dial(t, h.Addr())
	c.want("220")
	c.cmd("AUTH LOGIN", "334")
	_ = c.conn.Close()
	if <-told {
		t.Error("the hook was given a line")
	}
	h.WaitClosed(1, patience)
}
