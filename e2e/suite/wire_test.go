// SPDX-License-Identifier: Apache-2.0

package suite_test

import (
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/testkit/smtptest"
)

func TestWire(t *testing.T) {
	host := smtptest.NewHost(t, smtptest.HostOptions{})
	w := suite.NewWire(t, host.Addr().String())
	greeting := func() (string, error) {
		c, err := net.Dial("tcp", w.Addr())
		if err != nil {
			return "", err
		}
		defer c.Close()
		buffer := make([]byte, 64)
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			return "", err
		}
		n, err := c.Read(buffer)
		return string(buffer[:n]), err
	}
	if got, err := greeting(); err != nil || !strings.HasPrefix(got, "220") {
		t.Errorf("whole: %q, %v", got, err)
	}
	w.Cut()
	if got, err := greeting(); err == nil {
		t.Errorf("cut: %q", got)
	}
	w.Mend()
	w.Freeze()
	arrived := make(chan string)
	go func() {
		got, _ := greeting()
		arrived <- got
	}()
	if err := host.WaitFor(t.Context(), func(c smtptest.Counts) bool { return c.Accepted == 2 }); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-arrived:
		t.Errorf("frozen: %q", got)
	default:
	}
	w.Melt()
	if got := <-arrived; !strings.HasPrefix(got, "220") {
		t.Errorf("molten: %q", got)
	}
}

// TestWire_FrozenAnswers: what is sent arrives, what is answered does not.
func TestWire_FrozenAnswers(t *testing.T) {
	for name, freeze := range map[string]func(*suite.Wire){
		"now": (*suite.Wire).FreezeAnswers, "when something is sent": func(w *suite.Wire) { w.FreezeAnswersTo("LO client") },
	} {
		t.Run(name, func(t *testing.T) { frozenAnswers(t, freeze) })
	}
}

func frozenAnswers(t *testing.T, freeze func(*suite.Wire)) {
	t.Helper()
	said := make(chan string, 1)
	host := smtptest.NewHost(t, smtptest.HostOptions{OnHello: func(_, name string) string {
		said <- name
		return ""
	}})
	w := suite.NewWire(t, host.Addr().String())
	c, err := textproto.Dial("tcp", w.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.ReadResponse(220); err != nil {
		t.Fatal(err)
	}
	freeze(w)
	if err := c.PrintfLine("EHLO client.example"); err != nil {
		t.Fatal(err)
	}
	if got := <-said; got != "client.example" {
		t.Errorf("the host was told %q", got)
	}
	answered := make(chan error, 1)
	go func() {
		_, _, err := c.ReadResponse(250)
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("frozen: %v", err)
	default:
	}
	w.Melt()
	if err := <-answered; err != nil {
		t.Errorf("molten: %v", err)
	}
	if err := c.PrintfLine("QUIT"); err != nil {
		t.Error(err)
	}
}
