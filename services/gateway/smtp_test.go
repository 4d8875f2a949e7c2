// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/testkit/smtptest"
)

// logLines keeps the lines of a log.
type logLines struct {
	mu    sync.Mutex
	lines []map[string]any
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := map[string]any{}
	err := json.Unmarshal(bytes.TrimSpace(p), &line)
	l.lines = append(l.lines, line)
	return len(p), err
}

// smtpBench gives a gateway an SMTP listener.
type smtpBench struct {
	log logLines
	ca  *smtptest.CA
}

// on turns the listener on.
func (b *smtpBench) on(h *harness) {
	h.t.Helper()
	b.ca = smtptest.NewCA(h.t)
	pair := b.ca.ServerConfig("gateway.example").Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		h.t.Fatal(err)
	}
	dir := h.t.TempDir()
	h.cfg.SMTPTLS = SMTPTLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	for file, block := range map[string]*pem.Block{
		h.cfg.SMTPTLS.CertFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, h.cfg.SMTPTLS.KeyFile: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	h.cfg.SMTPListen, h.log = "127.0.0.1:0", slog.New(slog.NewJSONHandler(&b.log, nil))
}

// addr is where the listener listens.
func (b *smtpBench) addr(t *testing.T) string {
	t.Helper()
	b.log.mu.Lock()
	defer b.log.mu.Unlock()
	for _, line := range b.log.lines {
		if at, ok := line["smtp"].(string); ok {
			return at
		}
	}
	t.Fatal("the gateway does not say where it serves SMTP")
	return ""
}

// dial is a client behind EHLO, and behind STARTTLS and AUTH when it has a token.
func (b *smtpBench) dial(t *testing.T, name string) *smtp.Client {
	t.Helper()
	c, err := smtp.Dial(b.addr(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if name == "" {
		return c
	}
	if err := c.StartTLS(&tls.Config{RootCAs: b.ca.Pool(), ServerName: "gateway.example"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Auth(smtp.PlainAuth("", name, "secret-"+name, "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	return c
}

// sendSMTP hands in one message.
func sendSMTP(c *smtp.Client, sender, content string, recipients ...string) error {
	if err := c.Mail(sender); err != nil {
		return err
	}
	for _, r := range recipients {
		if err := c.Rcpt(r); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	_, err = w.Write([]byte(content))
	return errors.Join(err, w.Close())
}

func replyOf(e *textproto.Error) string { return fmt.Sprintf("%d %s", e.Code, e.Msg) }

// TestSMTPGoesTheWayOfSubmit hands in one message by each door. What is stored differs in the Received field alone.
func TestSMTPGoesTheWayOfSubmit(t *testing.T) {
	var b smtpBench
	h := start(t, withTokens(map[string]string{"shop": "submit"}), b.on)
	c := b.dial(t, "shop")
	content := strings.Replace(text(100), "Subject:", "Bcc: hidden@example.com\r\nSubject:", 1) + "..\r\n.x\r\n"
	if err := sendSMTP(c, "a@example.org", content, "b@example.com", "c@example.com"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.as("secret-shop").Submit(t.Context(), request(to("b@example.com", "c@example.com"), body(content))); err != nil {
		t.Fatal(err)
	}
	records := h.records()
	if len(records) != 2 {
		t.Fatalf("%d records", len(records))
	}
	want := strings.Replace(content, "Bcc: hidden@example.com\r\n", "", 1)
	bySMTP, byCall := records[0].submitted(t, want), records[1].submitted(t, want)
	if !strings.Contains(bySMTP, "\r\n\tby gateway.example (Postrider) with UTF8SMTPSA id "+records[0].GetMessageId()+";") {
		t.Errorf("our fields by SMTP: %s", bySMTP)
	}
	if !strings.Contains(byCall, "(Postrider, gRPC)") || strings.Count(bySMTP, "Received:") != 1 || !strings.Contains(bySMTP, "Postrider-Trace:") {
		t.Errorf("our fields by call: %s", byCall)
	}
	if got := records[0].GetEnvelope(); got.GetSender() != "a@example.org" || len(got.GetRecipients()) != 2 {
		t.Errorf("envelope %v", got)
	}
}

// TestSMTPHasTheRulesOfSubmit hands in by SMTP what Submit refuses, and what a relay may.
func TestSMTPHasTheRulesOfSubmit(t *testing.T) {
	var b smtpBench
	lenient := func(h *harness) { h.cfg.BareNewlines = "normalise" }
	h := start(t, withTokens(map[string]string{"shop": "submit", "dsn": "submit, null_sender", "watcher": "operator"}), b.on, lenient)
	from := "From: a@example.org\r\n"
	for name, tc := range map[string]struct {
		user, sender, content, reply string
	}{
		"G03 null sender":        {"shop", "", text(0), "550 5.7.1"},
		"right missing":          {"watcher", "a@example.org", text(0), "550 5.7.1"},
		"G07 no From":            {"shop", "a@example.org", "Subject: x\r\n\r\nhi\r\n", "550 5.6.0"},
		"G07 long line":          {"shop", "a@example.org", from + "\r\n" + strings.Repeat("x", 999) + "\r\n", "550 5.6.0"},
		"G09 NUL":                {"shop", "a@example.org", from + "\r\n\x00\r\n", "550 5.6.0"},
		"L01 hops":               {"shop", "a@example.org", strings.Repeat("Received: x\r\n", 101) + from + "\r\n", "554 5.4.6"},
		"G08 also if normalised": {"shop", "a@example.org", from + "\r\nx\ry\r\n", "550 5.6.0"},
	} {
		t.Run(name, func(t *testing.T) {
			err := sendSMTP(b.dial(t, tc.user), tc.sender, tc.content, "b@example.com")
			reply, ok := errors.AsType[*textproto.Error](err)
			if !ok || !strings.HasPrefix(replyOf(reply), tc.reply) {
				t.Errorf("%v, want %s", err, tc.reply)
			}
		})
	}
	if got := h.records(); len(got) != 0 {
		t.Errorf("%d records", len(got))
	}
	if err := sendSMTP(b.dial(t, "dsn"), "", text(0), "b@example.com"); err != nil {
		t.Errorf("with the right: %v", err)
	}
}

// TestG07_TrustedNetworkIsARelay takes from a trusted network what a submitter is refused.
func TestG07_TrustedNetworkIsARelay(t *testing.T) {
	var b smtpBench
	h := start(t, b.on, func(h *harness) { h.cfg.SMTPTrustedNetworks = []string{"127.0.0.0/8"} })
	content := "Subject: x\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nDate: twice\r\nMessage-ID: <1@x>\r\n\r\n" + strings.Repeat("x", 2000) + "\r\n"
	if err := sendSMTP(b.dial(t, ""), "", content, "b@example.com"); err != nil {
		t.Fatal(err)
	}
	records := h.records()
	if len(records) != 1 {
		t.Fatalf("%d records", len(records))
	}
	if ours := records[0].submitted(t, content); !strings.Contains(ours, " with UTF8SMTP id ") {
		t.Errorf("our fields: %s", ours)
	}
}

// TestG13_SMTPQueueAway: 451 at DATA while the queue cannot be reached, and nothing lost after it.
func TestG13_SMTPQueueAway(t *testing.T) {
	var b smtpBench
	h := start(t, b.on, func(h *harness) { h.cfg.SMTPTrustedNetworks = []string{"127.0.0.1"} })
	c := b.dial(t, "")
	h.server.Stop()
	err := sendSMTP(c, "a@example.org", text(0), "b@example.com")
	if reply, ok := errors.AsType[*textproto.Error](err); !ok || !strings.HasPrefix(replyOf(reply), "451 4.3.2") {
		t.Errorf("%v, want 451 4.3.2", err)
	}
}
