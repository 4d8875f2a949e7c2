// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/mail"
	"strings"

	"github.com/postrider/postrider/testkit/smtptest"
)

// serveMail is a mail host until ctx ends.
func serveMail(ctx context.Context, log *slog.Logger, address, name, behaviour string) error {
	o := smtptest.HostOptions{Name: name, ListenAddr: address, CountOnly: true}
	if err := behave(&o, log, behaviour); err != nil {
		return err
	}
	if !o.SilentGreeting {
		certificate, err := selfSigned(name)
		if err != nil {
			return err
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	}
	host, err := smtptest.StartHost(o)
	if err != nil {
		return err
	}
	log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("smtp", host.Addr().String()), slog.String("behaviour", behaviour))
	<-ctx.Done()
	host.Close()
	return nil
}

// behave sets what the host does.
func behave(o *smtptest.HostOptions, log *slog.Logger, behaviour string) error {
	next, returns := strings.CutPrefix(behaviour, "return=")
	switch {
	case returns:
		o.OnDot = func(m *smtptest.Message) string { return giveBack(log, o.Name, next, m) }
	case behaviour == "take":
		o.OnDot = func(m *smtptest.Message) string { tell(log, "took", m); return "" }
	case behaviour == "relay":
		o.OnDot = func(m *smtptest.Message) string { tell(log, "took", m); return "" }
		o.Extensions = append(smtptest.DefaultExtensions(), "AUTH PLAIN")
		o.OnOther = authenticate
	case behaviour == "silent":
		o.SilentGreeting = true
	case behaviour == "refuse-recipients":
		o.OnRcpt = func(string, []string) string { return "550 5.1.1 no such mailbox here" }
	default:
		return fmt.Errorf("behaviour %q: must be take, relay, silent, refuse-recipients or return=HOST:PORT", behaviour)
	}
	return nil
}

// authenticate takes any user name with any password, said by AUTH PLAIN with an initial response (RFC 4616).
func authenticate(verb, arg string, _ func(string) (string, bool)) string {
	if verb != "AUTH" {
		return ""
	}
	said, _ := strings.CutPrefix(arg, "PLAIN ")
	plain, err := base64.StdEncoding.DecodeString(said)
	if parts := strings.Split(string(plain), "\x00"); err != nil || len(parts) != 3 || parts[1] == "" || parts[2] == "" {
		return "535 5.7.8 no user name and password"
	}
	return "235 2.7.0 welcome"
}

// tell writes a line about a message, without the addresses of people.
func tell(log *slog.Logger, event string, m *smtptest.Message, more ...slog.Attr) {
	attrs := append([]slog.Attr{
		slog.Int("recipients", len(m.Rcpts)), slog.Int64("size", m.Size), slog.String("sha256", hex.EncodeToString(m.SHA256[:])),
		slog.Bool("null_sender", m.From == ""),
	}, more...)
	if parsed, err := mail.ReadMessage(bytes.NewReader(m.Data)); err == nil {
		attrs = append(attrs, slog.String("message_id", parsed.Header.Get("Message-ID")), slog.String("subject", parsed.Header.Get("Subject")))
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, event, attrs...)
}

func selfSigned(name string) (tls.Certificate, error) {
	ca, err := smtptest.GenerateCA()
	if err != nil {
		return tls.Certificate{}, err
	}
	return ca.Issue(smtptest.CertOptions{Names: []string{name}})
}
