// SPDX-License-Identifier: Apache-2.0

package mtasts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const message = "From: a@sender.example\r\nSubject: policy\r\nMessage-ID: <policy@sender.example>\r\n" +
	"Date: Mon, 02 Nov 2026 09:30:00 +0100\r\n\r\nOnly to whom the policy names.\r\n"

// world is a suite, the policy hosts, and two mail hosts: good has a certificate of the CA, bad one of nobody known.
type world struct {
	dns       *dnstest.Server
	web       *web
	good, bad *smtptest.Host
	server    string
	mail      gatewayv1.MailServiceClient
}

func start(t *testing.T) *world {
	t.Helper()
	ca := smtptest.NewCA(t)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	l := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3")
	w := &world{web: startWeb(t, ca), dns: dnstest.Start(t, zone("1"))}
	w.good = smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.good.example", Listener: l[0], TLS: ca.ServerConfig("mx.good.example")})
	w.bad = smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.bad.example", Listener: l[1], TLS: smtptest.NewCA(t).ServerConfig("mx.bad.example")})
	s := suite.Start(t, suite.AllInOne, suite.Options{
		Env: []string{"SSL_CERT_FILE=" + roots, "SSL_CERT_DIR=" + t.TempDir()},
		Settings: suite.Settings{
			"resolver.servers": []string{w.dns.Addr().String()}, "resolver.mta_sts.port": w.web.port,
			"resolver.mta_sts.fetch_timeout": "1s", "sender.smtp_port": smtptest.Port(l[0]),
		},
	})
	w.server, w.mail = s.Gateway, s.Mail(t)
	return w
}

// zone has all domains of the test; id is that of the policies of change.example and kept.example.
func zone(id string) string {
	all := "mx.good.example A 127.0.0.2\nmx.bad.example A 127.0.0.3\n"
	for name, host := range map[string]string{
		"enforce": "good", "unnamed": "bad", "strange": "bad", "testing": "bad", "redirect": "good", "expired": "good",
		"wrongname": "good", "hang": "good", "large": "good", "change": "good", "kept": "good",
	} {
		of := "1"
		if name == "change" || name == "kept" {
			of = id
		}
		all += name + ".example MX 10 mx." + host + ".example\nmta-sts." + name + ".example A 127.0.0.1\n" +
			"_mta-sts." + name + ".example 5 TXT \"v=STSv1\\; id=" + of + "\\;\"\n"
	}
	return all
}

// send submits a message to a domain and waits until it is delivered, or was tried.
func (w *world) send(t *testing.T, domain string) *gatewayv1.RecipientStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := suite.Submit(ctx, t, w.mail, []byte(message), "a@sender.example", "b@"+domain)
	m := suite.Await(ctx, t, w.mail, id, "tried", func(m *gatewayv1.Message) bool {
		r := m.GetRecipients()[0]
		return r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_QUEUED && r.GetStatus() != ""
	})
	return m.GetRecipients()[0]
}

func (w *world) delivered(t *testing.T, domain, policy string, verified bool) {
	t.Helper()
	r := w.send(t, domain)
	if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DELIVERED {
		t.Errorf("%s: %v, want delivered", domain, r)
		return
	}
	hosts := r.GetAttempts()[0].GetHosts()
	if tls := hosts[len(hosts)-1].GetTls(); tls.GetPolicy() != policy || tls.GetVerified() != verified || tls.GetVersion() == "" {
		t.Errorf("%s: delivered under %v, want %s, verified %t", domain, tls, policy, verified)
	}
}

func (w *world) deferred(t *testing.T, domain, reason string) {
	t.Helper()
	r := w.send(t, domain)
	if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DEFERRED || r.GetStatus() != "4.7.5" || r.GetReason() != reason {
		t.Errorf("%s: %v, want deferred with 4.7.5 %s", domain, r, reason)
	}
}

// shown is what `postrider route --json` prints.
type shown struct {
	Hosts []struct {
		Host, TLS  string
		TLSOrigin  string `json:"tls_origin"`
		TLSFinding string `json:"tls_finding"`
	}
	Warnings []string
	Failure  *struct{ Status, Reason, Detail string }
}

// route asks for a route; fresh asks DNS again.
func (w *world) route(t *testing.T, domain string, args ...string) shown {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), suite.Program(t, "postrider"), append([]string{"route", "--json", "--server", w.server, domain}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var ended *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	var r shown
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("route %s: %v\n%s%s", domain, err, &out, &errs)
	}
	return r
}

func TestR48_EnforceAndTesting(t *testing.T) {
	w := start(t)
	w.delivered(t, "enforce.example", "mta-sts", true)
	if r := w.route(t, "enforce.example"); len(r.Hosts) != 1 || r.Hosts[0].TLS != "mta-sts" || r.Hosts[0].TLSOrigin != "mta-sts policy id 1" {
		t.Errorf("enforce: %+v", r)
	}
	before := w.bad.Counts().Accepted
	w.deferred(t, "unnamed.example", "mta_sts_mismatch")
	if n := w.bad.Counts().Accepted - before; n != 0 {
		t.Errorf("%d connections to a host that the policy does not name", n)
	}
	w.deferred(t, "strange.example", "tls_failed")
	if n := w.bad.Counts().Messages; n != 0 {
		t.Errorf("%d messages at a host whose certificate nobody vouches for", n)
	}
	w.delivered(t, "testing.example", "opportunistic", false)
	r := w.route(t, "testing.example")
	if len(r.Hosts) != 1 || r.Hosts[0].TLSOrigin != "mta-sts policy id 1 (testing)" || !strings.Contains(r.Hosts[0].TLSFinding, "mx.bad.example") {
		t.Errorf("testing: %+v", r)
	}
}

func TestR46_PolicyThatCannotBeHad(t *testing.T) {
	w := start(t)
	for domain, problem := range map[string]string{
		"redirect.example": "redirects", "expired.example": "certificate", "wrongname.example": "certificate", "hang.example": "in time",
		"large.example": "larger than 64 KiB",
	} {
		w.delivered(t, domain, "opportunistic", false)
		r := w.route(t, domain)
		if len(r.Hosts) != 1 || r.Hosts[0].TLS != "opportunistic" || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], problem) {
			t.Errorf("%s: %+v, want a warning with %q", domain, r, problem)
		}
		if n := w.web.count(domain); n > 1 {
			t.Errorf("%s: fetched %d times within 5 minutes (R-47)", domain, n)
		}
	}
}

func TestR45_NewPolicyAndNoneToBeHad(t *testing.T) {
	w := start(t)
	for _, domain := range []string{"change.example", "kept.example"} {
		w.delivered(t, domain, "mta-sts", true)
	}
	w.dns.SetZone(dnstest.Parse(t, zone("2")))
	w.web.change("change.example", policy("enforce", "mx.elsewhere.example"))
	w.web.change("kept.example", "")

	if r := w.route(t, "change.example", "--fresh"); r.Failure == nil || r.Failure.Status != "4.7.5" || r.Failure.Reason != "mta_sts_mismatch" {
		t.Errorf("a stricter policy: %+v", r)
	}
	w.deferred(t, "change.example", "mta_sts_mismatch")

	r := w.route(t, "kept.example", "--fresh")
	if len(r.Hosts) != 1 || r.Hosts[0].TLS != "mta-sts" || r.Hosts[0].TLSOrigin != "mta-sts policy id 1" || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "404") {
		t.Errorf("the new policy cannot be had: %+v, want that of before in force", r)
	}
	w.delivered(t, "kept.example", "mta-sts", true)
	if n := w.web.count("kept.example"); n != 2 {
		t.Errorf("fetched %d times, want once for each id", n)
	}
}
