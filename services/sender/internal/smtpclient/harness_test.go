// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/testkit/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clientName is the argument of our EHLO.
const clientName = "client.example.test"

// newOptions are options whose gauge must be back at zero when the test ends (O-04).
func newOptions(t testing.TB) Options {
	var open atomic.Int64
	t.Cleanup(func() {
		if n := open.Load(); n != 0 {
			t.Errorf("%d connections are still open", n)
		}
	})
	return Options{
		Address:  netip.MustParseAddrPort("192.0.2.1:25"),
		Hostname: clientName,
		TLS:      TLSPolicy{Mode: TLSOpportunistic, Word: "opportunistic"},
		Timeouts: DefaultTimeouts(),
		Open:     func(delta int) { open.Add(int64(delta)) },
	}
}

// piped runs body in a synctest bubble. The n-th connection of the options talks with the n-th conversation over
// net.Pipe; there must be exactly as many connections as conversations.
func piped(t *testing.T, body func(t *testing.T, o Options), talks ...smtptest.Conversation) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := newOptions(t)
		n := 0
		o.Dial = func(context.Context, string, string) (net.Conn, error) {
			if n == len(talks) {
				t.Fatalf("connection %d was not expected", n+1)
			}
			client, server := net.Pipe()
			t.Cleanup(smtptest.Script(t, server, talks[n])) // what it finds wrong at the end counts too
			n++
			return client, nil
		}
		body(t, o)
		if n != len(talks) {
			t.Errorf("%d connections, want %d", n, len(talks))
		}
	})
}

// over is piped over real sockets.
func over(t *testing.T, body func(t *testing.T, o Options), talks ...smtptest.Conversation) {
	t.Helper()
	server := smtptest.Serve(t, talks...)
	o := newOptions(t)
	o.Address = server.Addr()
	body(t, o)
	server.Wait(len(talks), 10*time.Second)
	if n := server.Accepted(); n != len(talks) {
		t.Errorf("%d connections, want %d", n, len(talks))
	}
}

// mustDial opens a session and closes it at the end of the test.
func mustDial(t *testing.T, o Options) *Conn {
	t.Helper()
	c, fail := Dial(t.Context(), o)
	if fail != nil {
		t.Fatalf("Dial: %v\n%s", fail, strings.Join(c.Transcript(), "\n"))
	}
	t.Cleanup(c.Close)
	return c
}

// failDial opens a session that must fail, and checks stage, reason and recorded status.
func failDial(t *testing.T, o Options, stage smtpreply.Stage, reason smtpreply.Reason, status string) (*Conn, *smtpreply.Error) {
	t.Helper()
	c, fail := Dial(t.Context(), o)
	if fail == nil {
		c.Close()
		t.Fatal("Dial worked")
	}
	check(t, fail, stage, reason, status)
	return c, fail
}

func check(t *testing.T, fail *smtpreply.Error, stage smtpreply.Stage, reason smtpreply.Reason, status string) {
	t.Helper()
	if fail == nil {
		t.Fatalf("no failure, want %s %s", stage, reason)
	}
	if fail.Stage != stage || fail.Reason != reason || fail.RecordedStatus().String() != status {
		t.Errorf("got %s, reason %q, status %s; want %s, %q, %s (%v)",
			fail.Stage, fail.Reason, fail.RecordedStatus(), stage, reason, status, fail)
	}
}

const body = "From: <a@example.test>\r\nSubject: x\r\n\r\nhello\r\n"

// newMessage is a message to some recipients.
func newMessage(content string, to ...string) *Message {
	m := &Message{From: "sender@example.test", Size: int64(len(content)), Body: bytes.NewReader([]byte(content))}
	for _, address := range to {
		m.Recipients = append(m.Recipients, Recipient{Address: address})
	}
	return m
}

// elapsed is the time that f takes by the clock of the bubble.
func elapsed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// summary tells the results in short: "250" taken, otherwise the code or, without one, the reason.
func summary(r *Result) string {
	var all []string
	for _, one := range r.Recipients {
		switch {
		case one.Failure == nil:
			all = append(all, "taken")
		case one.Failure.Code != 0:
			all = append(all, one.Failure.Reply().String()[:3])
		default:
			all = append(all, string(one.Failure.Reason))
		}
	}
	return strings.Join(all, " ")
}

func wantCodes(t *testing.T, r *Result, want string) {
	t.Helper()
	if got := summary(r); got != want {
		t.Errorf("results %q, want %q", got, want)
		for i, one := range r.Recipients {
			t.Logf("recipient %d: %v", i, one.Failure)
		}
	}
}
