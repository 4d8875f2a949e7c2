// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

// client is a bare SMTP client that sends what it is told.
type client struct {
	t    *testing.T
	conn net.Conn
	br   *bufio.Reader
}

func dial(t *testing.T, addr netip.AddrPort) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return overConn(t, c)
}

func overConn(t *testing.T, c net.Conn) *client {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return &client{t: t, conn: c, br: bufio.NewReader(c)}
}

func (c *client) send(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, raw); err != nil {
		c.t.Fatalf("send %q: %v", raw, err)
	}
}

// want reads a whole reply, which must begin with prefix.
func (c *client) want(prefix string) string {
	c.t.Helper()
	var all strings.Builder
	for {
		line, err := c.br.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			c.t.Fatalf("want %q, got %q, then %v", prefix, all.String(), err)
		}
		if len(line) < 4 || line[3] != '-' {
			break
		}
	}
	if !strings.HasPrefix(all.String(), prefix) {
		c.t.Fatalf("got %q, want %q", all.String(), prefix)
	}
	return all.String()
}

// cmd sends a command and wants a reply.
func (c *client) cmd(line, prefix string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.want(prefix)
}

// end wants the connection to end and says how.
func (c *client) end() error {
	c.t.Helper()
	b, err := io.ReadAll(c.br)
	if len(b) > 0 {
		c.t.Errorf("surplus input %q", b)
	}
	return err
}

func (c *client) startTLS(cfg *tls.Config) {
	c.t.Helper()
	t := tls.Client(c.conn, cfg)
	if err := t.Handshake(); err != nil {
		c.t.Fatalf("client handshake: %v", err)
	}
	c.conn, c.br = t, bufio.NewReader(t)
}
