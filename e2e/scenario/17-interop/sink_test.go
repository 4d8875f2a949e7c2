// SPDX-License-Identifier: Apache-2.0

//go:build debian

package interop_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// sinks are smtp-sink(1) with its faults, and what mail comes to at the first attempt.
var sinks = []struct {
	flags  []string
	state  eventv1.RecipientState
	code   uint32 // of the host's reply that decided, 0 without one
	reason string // of a recipient that is not delivered
	size   int    // of the message; 0: a small one
	least  time.Duration
}{
	{flags: []string{"-q", "CONNECT"}, state: deferred, reason: "connection_lost"},
	{flags: []string{"-q", "EHLO"}, state: delivered}, // by HELO on a new connection (S-22)
	{flags: []string{"-q", "EHLO,HELO"}, state: deferred, reason: "connection_lost"},
	{flags: []string{"-q", "MAIL"}, state: deferred, reason: "connection_lost"},
	{flags: []string{"-q", "RCPT"}, state: deferred, reason: "connection_lost"},
	{flags: []string{"-q", "DATA"}, state: deferred, reason: "connection_lost"},
	{flags: []string{"-q", "."}, state: deferred, reason: "ambiguous"},
	{flags: []string{"-q", "QUIT"}, state: delivered},
	{flags: []string{"-Q", "RCPT"}, state: deferred, code: 421, reason: "rcpt_deferred"},
	{flags: []string{"-r", "CONNECT"}, state: deferred, code: 450, reason: "greeting_deferred"},
	{flags: []string{"-r", "EHLO"}, state: deferred, code: 450, reason: "ehlo_deferred"},
	{flags: []string{"-r", "MAIL"}, state: deferred, code: 450, reason: "mail_deferred"},
	{flags: []string{"-r", "RCPT"}, state: deferred, code: 450, reason: "rcpt_deferred"},
	{flags: []string{"-r", "DATA"}, state: deferred, code: 450, reason: "data_deferred"},
	{flags: []string{"-r", "."}, state: deferred, code: 450, reason: "dot_deferred"},
	{flags: []string{"-f", "CONNECT"}, state: deferred, code: 500, reason: "greeting_refused"},
	{flags: []string{"-f", "EHLO"}, state: delivered}, // by HELO (S-21)
	{flags: []string{"-f", "MAIL"}, state: bounced, code: 500, reason: "mail_refused"},
	{flags: []string{"-f", "RCPT"}, state: bounced, code: 500, reason: "rcpt_refused"},
	{flags: []string{"-f", "DATA"}, state: bounced, code: 500, reason: "data_refused"},
	{flags: []string{"-f", "."}, state: bounced, code: 500, reason: "dot_refused"},
	{flags: []string{"-H", "3", "-T", "2048"}, state: delivered, size: 1 << 20, least: 3 * time.Second},
	{flags: []string{"-W", "CONNECT:2"}, state: delivered, least: 2 * time.Second},
	{flags: []string{"-p", "-W", "RCPT:2"}, state: delivered, least: 2 * time.Second},
	{flags: []string{"-W", ".:2"}, state: delivered, least: 2 * time.Second},
	{flags: []string{"-w", "2"}, state: delivered, least: 2 * time.Second},
	{flags: []string{"-e"}, state: delivered},
	{flags: []string{"-p"}, state: delivered},
	{flags: []string{"-P"}, state: delivered},
}

// sinkCommands starts all of them; each writes what it takes into files of its own.
func sinkCommands(port uint16) string {
	var all strings.Builder
	for i, s := range sinks {
		fmt.Fprintf(&all, "smtp-sink -u mail %s -d /var/mail/sink%d. %s:%d 50 &\n", strings.Join(s.flags, " "), i, sinkAddress(i), port)
	}
	return all.String() + "wait"
}

func (w *world) sink(t *testing.T, i int) {
	s := sinks[i]
	m := plain(t, "sink")
	if s.size > 0 {
		m = large(t, "sink", s.size)
	}
	r := w.send(t, m, 1, fmt.Sprintf("b@sink%d.example", i))[0]
	first := r.GetAttempts()[0]
	if r.GetState() != s.state || s.state == delivered && len(r.GetAttempts()) != 1 {
		t.Fatalf("%v, want %s", r, s.state)
	}
	if took := first.GetDuration().AsDuration(); took < s.least {
		t.Errorf("took %s, want at least %s", took, s.least)
	}
	if s.state == delivered {
		w.hosts["sinks"].stored(t, fmt.Sprintf("sink%d.*", i), m, 1)
		return
	}
	if f := firstTry(r).GetFailure(); f.GetReply().GetCode() != s.code || f.GetReason() != s.reason {
		t.Errorf("%v, want %d, %s", f, s.code, s.reason)
	}
}
