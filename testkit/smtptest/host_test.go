// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 30 * time.Second

// deliver sends one message in one connection, pipelined.
func deliver(t *testing.T, h *Host, data string) {
	t.Helper()
	c := dial(t, h.Addr())
	c.want("220 ")
	c.cmd("EHLO client.example.test", "250")
	c.send("MAIL FROM:<a@example.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n")
	c.want("250")
	c.want("250")
	c.want("354")
	c.send(data + ".\r\n")
	c.want("250")
	c.cmd("QUIT", "221")
	_ = c.conn.Close()
}

func TestHostKeepsMessage(t *testing.T) {
	t.Parallel()
	h := NewHost(t, HostOptions{Name: "mx1.example.test"})
	c := dial(t, h.Addr())
	if got := c.want("220"); got != "220 mx1.example.test ESMTP\r\n" {
		t.Errorf("greeting %q", got)
	}
	want := "250-mx1.example.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n" +
		"250-DSN\r\n250 SIZE\r\n"
	if got := c.cmd("EHLO client.example.test", "250"); got != want {
		t.Errorf("EHLO reply %q", got)
	}
	wire := "Subject: x\r\n\r\n..dot\r\n...\r\nend\r\n"
	message := "Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n"
	c.cmd(fmt.Sprintf("MAIL FROM:<a@example.test> SIZE=%d RET=HDRS ENVID=q1", len(message)), "250 2.1.0")
	c.cmd(`RCPT TO:<"x> y"@example.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;b@example.test`, "250 2.1.5")
	c.cmd("RCPT TO:<c@example.test>", "250")
	c.cmd("DATA", "354")
	c.send(wire + ".\r\n")
	c.want("250 2.0.0 queued as 1.1")
	c.cmd("QUIT", "221")
	_ = c.conn.Close()

	m := h.Wait(1, patience)[0]
	if string(m.Data) != message || m.Size != int64(len(message)) || m.SHA256 != sha256.Sum256([]byte(message)) {
		t.Errorf("data %q, size %d", m.Data, m.Size)
	}
	if m.From != "a@example.test" || !slices.Equal(m.Params, []string{fmt.Sprintf("SIZE=%d", len(message)), "RET=HDRS", "ENVID=q1"}) {
		t.Errorf("from %q with %q", m.From, m.Params)
	}
	if !slices.Equal(m.To(), []string{`"x> y"@example.test`, "c@example.test"}) ||
		!slices.Equal(m.Rcpts[0].Params, []string{"NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;b@example.test"}) {
		t.Errorf("recipients %q", m.Rcpts)
	}
	if m.Verb != "EHLO" || m.Helo != "client.example.test" || m.TLS != nil || m.Conn != 1 || m.Transaction != 1 {
		t.Errorf("session %+v", m)
	}
	info := h.WaitClosed(1, patience)[0]
	if info.Closed != ClosedFIN || info.Messages != 1 || len(info.Commands) != 6 {
		t.Errorf("connection %+v", info)
	}
	if got := h.Counts(); got != (Counts{Accepted: 1, ClosedByPeer: 1, Messages: 1}) {
		t.Errorf("counts %+v", got)
	}
}

func TestHostSeveralTransactions(t *testing.T) {
	t.Parallel()
	h := NewHost(t, HostOptions{})
	c := dial(t, h.Addr())
	c.want("220")
	c.cmd("NOOP", "250")
	c.cmd("EHLO c", "250")
	c.cmd("VRFY postmaster", "252")
	c.cmd("MAIL FROM:<>", "250")
	c.cmd("RSET", "250")
	c.cmd("DATA", "503")
	for i := range 3 {
		c.cmd("MAIL FROM:<>", "250")
		c.cmd("RCPT TO:<b@example.test>", "250")
		c.cmd("DATA", "354")
		c.send(fmt.Sprintf("n: %d\r\n.\r\n", i))
		c.want("250")
	}
	all := h.Wait(3, patience)
	for i, m := range all {
		if m.Transaction != i+1 || m.Conn != 1 || string(m.Data) != fmt.Sprintf("n: %d\r\n", i) || m.From != "" {
			t.Errorf("message %d: %+v", i, m)
		}
	}
}

// TestHostPipelining sends two messages in a single write, the second's commands with the first's data (RFC 2920,
// section 3.1).
func TestHostPipelining(t *testing.T) {
	t.Parallel()
	h := NewHost(t, HostOptions{})
	c := dial(t, h.Addr())
	c.want("220")
	c.cmd("EHLO c", "250")
	c.send("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nRCPT TO:<c@x.test>\r\nDATA\r\n")
	for _, p := range []string{"250", "250", "250", "354"} {
		c.want(p)
	}
	c.send("one\r\n.\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<d@x.test>\r\nDATA\r\n")
	for _, p := range []string{"250 2.0.0", "250", "250", "354"} {
		c.want(p)
	}
	c.send("two\r\n.\r\nQUIT\r\n")
	c.want("250")
	c.want("221")
	_ = c.conn.Close()
	info := h.WaitClosed(1, patience)[0]
	if len(info.Groups) != 4 || len(info.Groups[1]) != 4 || info.Groups[2][0] != "." || len(info.Groups[2]) != 4 {
		t.Errorf("groups %q", info.Groups)
	}
	if all := h.Messages(); len(all) != 2 || string(all[1].Data) != "two\r\n" || all[1].Rcpts[0].Address != "d@x.test" {
		t.Errorf("messages %+v", all)
	}
}

func TestHostSTARTTLS(t *testing.T) {
	t.Parallel()
	ca := NewCA(t)
	h := NewHost(t, HostOptions{Name: "mx.example.test", TLS: ca.ServerConfig("mx.example.test")})
	c := dial(t, h.Addr())
	c.want("220")
	if got := c.cmd("EHLO c", "250"); !strings.HasSuffix(got, "250 STARTTLS\r\n") {
		t.Errorf("EHLO %q", got)
	}
	c.cmd("STARTTLS", "220")
	c.startTLS(&tls.Config{ServerName: "mx.example.test", RootCAs: ca.Pool()})
	c.cmd("MAIL FROM:<a@x.test>", "503") // what was learnt before is forgotten
	if got := c.cmd("EHLO c", "250"); strings.Contains(got, "STARTTLS") {
		t.Errorf("STARTTLS offered inside TLS: %q", got)
	}
	c.cmd("STARTTLS", "502")
	c.cmd("MAIL FROM:<a@x.test>", "250")
	c.cmd("RCPT TO:<b@x.test>", "250")
	c.cmd("DATA", "354")
	c.send("x\r\n.\r\n")
	c.want("250")
	_ = c.conn.Close()
	m := h.Wait(1, patience)[0]
	if m.TLS == nil || m.TLS.Version != tls.VersionTLS13 {
		t.Errorf("TLS state %+v", m.TLS)
	}
	if info := h.WaitClosed(1, patience)[0]; !info.TLS || info.Closed != ClosedFIN {
		t.Errorf("connection %+v", info)
	}
}

func TestHostTLSHandshakeFails(t *testing.T) {
	t.Parallel()
	ca := NewCA(t)
	h := NewHost(t, HostOptions{TLS: ca.ServerConfig("mx.example.test")})
	c := dial(t, h.Addr())
	c.want("220")
	c.cmd("EHLO c", "250")
	c.cmd("STARTTLS", "220")
	if err := tls.Client(c.conn, &tls.Config{ServerName: "other.test", RootCAs: ca.Pool()}).Handshake(); err == nil {
		t.Fatal("a certificate for another name was taken")
	}
	_ = c.conn.Close()
	if info := h.WaitClosed(1, patience)[0]; info.TLS || info.TLSError == "" {
		t.Errorf("connection %+v", info)
	}
}

func TestHostHooks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		opts HostOptions
		talk func(c *client)
	}{
		{"greeting", HostOptions{Greeting: "554 go away\r\n"}, func(c *client) { c.want("554 go away\r\n") }},
		{"connect", HostOptions{OnConnect: func(i *ConnInfo) string { return fmt.Sprintf("421 %d", i.ID) }},
			func(c *client) { c.want("421 1\r\n"); _ = c.end() }},
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

func TestHostMaxSize(t *testing.T) {
	t.Parallel()
	h := NewHost(t, HostOptions{MaxSize: 10})
	c := dial(t, h.Addr())
	c.want("220")
	if got := c.cmd("EHLO c", "250"); !strings.HasSuffix(got, "250 SIZE 10\r\n") {
		t.Errorf("EHLO %q", got)
	}
	c.cmd("MAIL FROM:<a@x.test> SIZE=11", "552 5.3.4")
	c.cmd("MAIL FROM:<a@x.test>", "250")
	c.cmd("RCPT TO:<b@x.test>", "250")
	c.cmd("DATA", "354")
	c.send("0123456789\r\n.\r\n")
	c.want("552 5.3.4")
	if got := h.Counts(); got.Refused != 1 || got.Messages != 0 {
		t.Errorf("counts %+v", got)
	}
}

func TestHostViolations(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, send, want string
		opts             HostOptions
	}{
		{"pipelining", "NOOP\r\nNOOP\r\n", "pipelining that was not offered", HostOptions{}},
		{"bare LF", "NOOP\n", "bare CR or LF in the command", HostOptions{}},
		{"bare CR", "NOOP\rNOOP\r\n", "bare CR or LF in the command", HostOptions{}},
		{"unknown", "FROB x\r\n", `unknown command "FROB x"`, HostOptions{}},
		{"no name", "EHLO\r\n", "EHLO without a name", HostOptions{}},
		{"parameter", "EHLO c\r\nMAIL FROM:<> SIZE=1\r\n", "SIZE was not offered", HostOptions{Extensions: []string{"PIPELINING"}}},
		{"unknown parameter", "EHLO c\r\nMAIL FROM:<> FROB\r\n", "unknown parameter", HostOptions{}},
		{"no brackets", "EHLO c\r\nMAIL FROM:a@x.test\r\n", "path without angle bracket", HostOptions{}},
		{"null forward-path", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<>\r\n", "empty forward-path", HostOptions{}},
		{"nested", "EHLO c\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n", "MAIL inside a transaction", HostOptions{}},
		{"wrong size", "EHLO c\r\nMAIL FROM:<> SIZE=5\r\nRCPT TO:<b@x.test>\r\nDATA\r\n1\r\n.\r\n", "SIZE=5, but the data have 3 octets", HostOptions{}},
		{"8-bit", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n\xe4\r\n.\r\n", "8-bit data without BODY=8BITMIME", HostOptions{}},
		{"data bare", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@x.test>\r\nDATA\r\na\nb\rc\r\n.\r\n", "1 bare CR and 1 bare LF in the data", HostOptions{}},
		{"after QUIT", "EHLO c\r\nQUIT\r\nNOOP\r\n", "octets after QUIT", HostOptions{}},
		{"STARTTLS", "EHLO c\r\nSTARTTLS\r\nEHLO c\r\n", "input between STARTTLS and the handshake", HostOptions{TLS: NewCA(t).ServerConfig("x")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := NewHost(t, tc.opts)
			c := dial(t, h.Addr())
			c.want("220")
			rest, hello := strings.CutPrefix(tc.send, "EHLO c\r\n")
			if hello {
				c.cmd("EHLO c", "250")
			}
			c.send(rest) // in one write
			_ = c.conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c.br)
			_ = c.conn.Close()
			h.WaitClosed(1, patience)
			v := h.ForgiveViolations()
			if !slices.ContainsFunc(v, func(s string) bool { return strings.Contains(s, tc.want) }) {
				t.Errorf("violations %q, want %q", v, tc.want)
			}
		})
	}
}

func TestHostViolationEarlyTalker(t *testing.T) {
	t.Parallel()
	spoken := make(chan struct{})
	h := NewHost(t, HostOptions{OnConnect: func(*ConnInfo) string { <-spoken; return "" }})
	c := dial(t, h.Addr())
	c.send("EHLO c\r\n")
	close(spoken)
	c.want("220")
	if v := h.ForgiveViolations(); len(v) != 1 || !strings.Contains(v[0], "input before the greeting") {
		t.Errorf("violations %q", v)
	}
}

func TestHostIdleTimeout(t *testing.T) {
	t.Parallel()
	h := NewHost(t, HostOptions{IdleTimeout: 50 * time.Millisecond})
	c := dial(t, h.Addr())
	c.want("220")
	c.want("421 4.4.2")
	if err := c.end(); err != nil {
		t.Error(err)
	}
	if info := h.WaitClosed(1, patience)[0]; info.Closed != ClosedHere {
		t.Errorf("closed %q", info.Closed)
	}
}

func TestHostDiscardBody(t *testing.T) {
	t.Parallel()
	h := NewHost(t, HostOptions{DiscardBody: true})
	deliver(t, h, "x\r\n")
	m := h.Wait(1, patience)[0]
	if len(m.Data) != 0 || m.Size != 3 || m.SHA256 != sha256.Sum256([]byte("x\r\n")) {
		t.Errorf("%+v", m)
	}
}

func TestHostSharedPort(t *testing.T) {
	t.Parallel()
	l := SharedPort(t, "127.0.0.2", "127.0.0.3")
	a := NewHost(t, HostOptions{Listener: l[0]})
	b := NewHost(t, HostOptions{Listener: l[1]})
	if a.Addr().Port() != b.Addr().Port() || a.Addr().Addr() == b.Addr().Addr() {
		t.Errorf("%s and %s", a.Addr(), b.Addr())
	}
	deliver(t, b, "x\r\n")
	if len(a.Messages()) != 0 || len(b.Wait(1, patience)) != 1 {
		t.Error("the message is at the wrong host")
	}
}

func TestStartHost(t *testing.T) {
	t.Parallel()
	h, err := StartHost(HostOptions{ListenAddr: "127.0.0.2:0"})
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, h, "x\r\n")
	if _, err := StartHost(HostOptions{ListenAddr: h.Addr().String()}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second host on the same address: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.WaitFor(ctx, func(c Counts) bool { return c.Messages == 2 }); !errors.Is(err, context.Canceled) {
		t.Errorf("WaitFor: %v", err)
	}
	h.Close()
	h.Close()
	if _, err := net.Dial("tcp", h.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after Close: %v", err)
	}
}

func TestHostCloseCutsConnections(t *testing.T) {
	t.Parallel()
	h := NewHost(t, HostOptions{})
	c := dial(t, h.Addr())
	c.want("220")
	h.Close()
	if err := c.end(); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	if got := h.Conns()[0].Closed; got != ClosedHere {
		t.Errorf("closed %q", got)
	}
}

func TestHostAttachPipe(t *testing.T) {
	t.Parallel()
	h := NewHost(t, HostOptions{})
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); h.Attach(theirs) }()
	c := overConn(t, ours)
	c.want("220")
	c.cmd("EHLO c", "250")
	_ = ours.Close()
	<-done
	if h.Counts().ClosedByPeer != 1 {
		t.Errorf("%+v", h.Counts())
	}
}

func TestHostLargeMessage(t *testing.T) {
	t.Parallel()
	h := NewHost(t, HostOptions{})
	long := strings.Repeat("x", 100_000) + "\r\n"
	body := bytes.Repeat([]byte(long), 20)
	deliver(t, h, string(body))
	if m := h.Wait(1, patience)[0]; !bytes.Equal(m.Data, body) {
		t.Errorf("%d octets differ from the %d sent", len(m.Data), len(body))
	}
}
