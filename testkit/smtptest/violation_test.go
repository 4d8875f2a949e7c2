// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
)

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

// TestHostReportsViolations shows that a test fails by them without asking.
func TestHostReportsViolations(t *testing.T) {
	t.Parallel()
	rec := &recorder{TB: t}
	h := NewHost(rec, HostOptions{Name: "mx7.example.test"})
	c := dial(t, h.Addr())
	c.want("220")
	c.cmd("FROB", "500")
	rec.end()
	if got := rec.all(); got != `smtptest: host mx7.example.test: connection 1: unknown command "FROB "` {
		t.Errorf("reported %q", got)
	}
}
