// SPDX-License-Identifier: Apache-2.0

//go:build debian

package debianclients_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const zone = `
one.example     MX 10 mx.one.example
mx.one.example  A  127.0.0.1
sender.example  MX 10 mx.one.example
`

// programs unpacks Debian's and returns the folder they are in.
func programs(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(suite.Root(t), "bin", "debian-clients")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "./install.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("install.sh: %v\n%s", err, out)
	}
	return filepath.Join(dir, "bin")
}

// run runs a program for at most a minute and wants it to succeed or to fail.
func run(t *testing.T, succeeds bool, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if (err == nil) != succeeds {
		t.Fatalf("%s %q: %v\n%s", filepath.Base(program), args, err, out)
	}
	return string(out)
}

// gateway starts a suite that takes mail by SMTP: from 127.0.0.1 as it comes, from elsewhere with TLS and AUTH.
func gateway(t *testing.T) (address string, host *smtptest.Host, s *suite.Suite) {
	t.Helper()
	listeners := smtptest.SharedPort(t, "127.0.0.1", "127.0.0.2")
	host = smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.one.example", Listener: listeners[0], OnRcpt: refuse})
	address = listeners[1].Addr().String()
	if err := listeners[1].Close(); err != nil { // the gateway takes its place
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	tokens := filepath.Join(dir, "tokens.yaml")
	list := fmt.Sprintf("- name: shop\n  sha256: %x\n  rights: [submit]\n", sha256.Sum256([]byte("shop-token")))
	if err := os.WriteFile(tokens, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	s = suite.Start(t, suite.AllInOne, suite.Options{Settings: suite.Settings{
		"resolver.servers":              []string{dnstest.Start(t, zone).Addr().String()},
		"sender.smtp_port":              smtptest.Port(listeners[0]),
		"gateway.smtp_listen":           address,
		"gateway.smtp_trusted_networks": []string{"127.0.0.1"},
		"gateway.smtp_tls.cert_file":    cert,
		"gateway.smtp_tls.key_file":     key,
		"gateway.tokens_file":           tokens,
	}})
	return address, host, s
}

// refuse refuses one recipient.
func refuse(address string, _ []string) string {
	if strings.HasPrefix(address, "nobody") {
		return "550 5.1.1 No such user here"
	}
	return ""
}

func certificate(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	issued, err := smtptest.NewCA(t).Issue(smtptest.CertOptions{Names: []string{"postrider.example", "127.0.0.2"}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(issued.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: issued.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestSwaksAndSmtpSource(t *testing.T) {
	bin := programs(t)
	address, host, _ := gateway(t)
	swaks := func(succeeds bool, from, subject string, more ...string) string {
		t.Helper()
		return run(t, succeeds, filepath.Join(bin, "swaks"), append([]string{
			"--server", address, "--local-interface", from, "--helo", "client.sender.example", "--from", "a@sender.example",
			"--to", "b@one.example", "--header", "Subject: " + subject, "--body", "Hello.\n.A dot.", "--timeout", "30",
		}, more...)...)
	}

	swaks(true, "127.0.0.1", "trusted")
	login := []string{"--auth-user", "shop", "--auth-password", "shop-token"}
	said := swaks(true, "127.0.0.9", "with AUTH PLAIN", append(login, "-tls", "--auth", "PLAIN")...)
	if !strings.Contains(said, "TLS started with cipher") || !strings.Contains(said, "~> AUTH PLAIN") {
		t.Errorf("swaks did not say that it used TLS and AUTH:\n%s", said)
	}
	swaks(true, "127.0.0.9", "with AUTH LOGIN", append(login, "-tls", "--auth", "LOGIN")...)
	for name, more := range map[string][]string{
		"in clear, without AUTH": nil,
		"TLS, without AUTH":      {"-tls"},
		"AUTH in clear":          append(login, "--auth", "PLAIN"),
		"a wrong password":       {"-tls", "--auth", "PLAIN", "--auth-user", "shop", "--auth-password", "guess"},
	} {
		if out := swaks(false, "127.0.0.9", name, more...); strings.Contains(out, "shop-token") && strings.Contains(out, "334") {
			t.Errorf("%s: the password went out in clear:\n%s", name, out)
		}
	}

	const many = 60
	run(t, true, filepath.Join(bin, "smtp-source"), "-s", "5", "-m", fmt.Sprint(many), "-l", "3000", "-M", "client.sender.example",
		"-f", "a@sender.example", "-t", "b@one.example", address)

	got := host.Wait(3+many, 2*time.Minute)
	subjects := map[string]int{}
	for _, m := range got {
		text := string(m.Data)
		if m.From != "a@sender.example" || !strings.Contains(text, "by postrider.example (Postrider) with ") {
			t.Errorf("from %s:\n%.600s", m.From, text)
		}
		for _, subject := range []string{"trusted", "with AUTH PLAIN", "with AUTH LOGIN"} {
			if strings.Contains(text, "\r\nSubject: "+subject+"\r\n") {
				subjects[subject]++
				if !strings.Contains(text, "\r\nHello.\r\n.A dot.\r\n") {
					t.Errorf("%s:\n%s", subject, text)
				}
			}
		}
	}
	if len(got) != 3+many || len(subjects) != 3 {
		t.Errorf("%d messages, by swaks %v", len(got), subjects)
	}
	t.Logf("%d messages of smtp-source and 3 of swaks arrived", many)
}
