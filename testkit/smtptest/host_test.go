// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
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

func TestHostCountOnly(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 1)
	h := NewHost(t, HostOptions{CountOnly: true, OnDot: func(m *Message) string { seen <- string(m.Data); return "" }})
	deliver(t, h, "x\r\n")
	info := h.WaitClosed(1, patience)[0]
	if h.Counts().Messages != 1 || len(h.Messages()) != 0 || len(info.Commands)+len(info.Groups) != 0 || info.Messages != 1 {
		t.Errorf("%+v %+v", h.Counts(), info)
	}
	if got := <-seen; got != "x\r\n" {
		t.Errorf("the hook saw %q", got)
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
