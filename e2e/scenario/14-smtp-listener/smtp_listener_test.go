// SPDX-License-Identifier: Apache-2.0

package smtplistener_test

import (
	"net"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const (
	zone = `
one.example    MX 10 mx.one.example
mx.one.example A  127.0.0.2
own.example    MX 10 mx.own.example
mx.own.example A  127.0.0.5
sender.example MX 10 mx.one.example
`
	content = "From: a@sender.example\r\nSubject: by SMTP\r\nMessage-ID: <1@sender.example>\r\n" +
		"Date: Mon, 02 Nov 2026 09:30:00 +0100\r\n\r\n.hello\r\n"
)

func TestMailComesBySMTP(t *testing.T) {
	for _, shape := range suite.Shapes() {
		t.Run(string(shape), func(t *testing.T) { run(t, shape) })
	}
}

func run(t *testing.T, shape suite.Shape) {
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.5")
	host := smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.one.example", Listener: listeners[0]})
	address := listeners[1].Addr().String()
	if err := listeners[1].Close(); err != nil { // the gateway takes its place
		t.Fatal(err)
	}
	settings := suite.Settings{
		"resolver.servers":              []string{dnstest.Start(t, zone).Addr().String()},
		"sender.smtp_port":              smtptest.Port(listeners[0]),
		"gateway.smtp_listen":           address,
		"gateway.smtp_trusted_networks": []string{"127.0.0.0/8"},
	}
	if shape == suite.FourProcesses { // the all-in-one knows by itself
		settings["resolver.own_listeners"] = []string{address}
	}
	suite.Start(t, shape, suite.Options{Settings: settings})

	send(t, address, "b@one.example")
	got := string(host.Wait(1, time.Minute)[0].Data)
	if !strings.HasSuffix(got, content) || !strings.Contains(got, "\r\n\tby postrider.example (Postrider) with ") {
		t.Errorf("delivered:\n%s", got)
	}

	send(t, address, "b@own.example")
	report := string(host.Wait(2, time.Minute)[1].Data)
	for _, want := range []string{"multipart/report", "Status: 5.4.6", "Final-Recipient: rfc822; b@own.example"} {
		if !strings.Contains(report, want) {
			t.Errorf("no %q in the notification:\n%s", want, report)
		}
	}
}

// send hands the message in as a client of the standard library does, from an address of this machine.
func send(t *testing.T, address, recipient string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c, err := smtp.NewClient(conn, "127.0.0.5")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, step := range []func() error{
		func() error { return c.Hello("client.sender.example") },
		func() error { return c.Mail("a@sender.example") },
		func() error { return c.Rcpt(recipient) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
}
