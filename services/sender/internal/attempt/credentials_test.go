// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/destination"
	"github.com/postrider/postrider/testkit/smtptest"
)

func passwordFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// relaying sends all mail of the lab through a smarthost with credentials; the log takes alarms.
func (l *lab) relaying(file string) *bytes.Buffer {
	var log bytes.Buffer
	l.options.Log = slog.New(slog.NewTextHandler(&log, nil))
	l.options.Destinations = destination.List{{Match: "*", Smarthost: destination.Smarthost{
		Host: "[relay.example.test]", Port: 587, Username: "relayuser", PasswordFile: file, InsecureAuth: true,
	}}}
	return &log
}

func relay(reply string) smtptest.Conversation {
	return func(s *smtptest.Conn) {
		s.Greet("relay", "AUTH PLAIN")
		if line := s.Expect("AUTH PLAIN"); line != "AUTH PLAIN AHJlbGF5dXNlcgAgcGFzcyA=" { // NUL relayuser NUL " pass "
			s.Fail("%q", line)
		}
		s.Send(reply + "\r\n")
		if reply[0] == '2' {
			s.Take()
		}
		s.Quit()
	}
}

func TestS43_MailGoesThroughTheSmarthostWithCredentials(t *testing.T) {
	inLab(t, func(l *lab) {
		log := l.relaying(passwordFile(t, " pass \r\n"))
		l.hosts["192.0.2.1"] = relay("235 2.7.0 ok")
		if got := l.only().GetState(); got != eventv1.RecipientState_RECIPIENT_STATE_DELIVERED {
			t.Errorf("state %s", got)
		}
		if asked := l.resolver.asked[0].GetSmarthost(); asked != "[relay.example.test]:587" {
			t.Errorf("asked for %q", asked)
		}
		if log.Len() > 0 {
			t.Errorf("alarm: %s", log)
		}
	})
}

func TestS44_RefusedCredentialsDeferWithAnAlarm(t *testing.T) {
	inLab(t, func(l *lab) {
		log := l.relaying(passwordFile(t, " pass "))
		l.hosts["192.0.2.1"] = relay("535 5.7.8 who are you")
		want(t, l.only(), eventv1.RecipientState_RECIPIENT_STATE_DEFERRED, "4.7.8", "auth", 5*time.Minute)
		if text := log.String(); !strings.Contains(text, "ALARM") || !strings.Contains(text, "relay.example.test") || strings.Contains(text, "pass ") {
			t.Errorf("alarm: %s", text)
		}
	})
}

// A password that cannot be read any more is no reason to bounce, and no host is bothered.
func TestS44_PasswordFileGoneWhileRunning(t *testing.T) {
	inLab(t, func(l *lab) {
		file := passwordFile(t, "x")
		log := l.relaying(file)
		e, err := New(l.options)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		want(t, e.Run(t.Context(), l.job).GetResults()[0], eventv1.RecipientState_RECIPIENT_STATE_DEFERRED, "4.7.0", "auth", 5*time.Minute)
		if !strings.Contains(log.String(), "ALARM") || len(l.dialled) > 0 {
			t.Errorf("alarm %q, dialled %q", log, l.dialled)
		}
	})
}

func TestS43_PasswordFiles(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "only a line end": "\n", "two lines": "a\nb\n", "NUL": "a\x00b", "too long": strings.Repeat("x", maxPassword+1),
	} {
		inLab(t, func(l *lab) {
			l.relaying(passwordFile(t, text))
			if _, err := New(l.options); err == nil || !strings.Contains(err.Error(), "sender.destinations[0].smarthost.password_file") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	inLab(t, func(l *lab) {
		l.relaying(filepath.Join(t.TempDir(), "not there"))
		if _, err := New(l.options); err == nil {
			t.Error("a file that is not there is taken")
		}
	})
}

func TestS44_OneAlarmAMinuteForEachSmarthost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a := alarms{log: slog.New(slog.NewTextHandler(&log, nil))}
		told := func() int {
			defer log.Reset()
			return strings.Count(log.String(), "ALARM")
		}
		refused := &smtpreply.Error{Stage: smtpreply.StageAuth, Reason: smtpreply.ReasonAuth}
		for range 5 {
			a.raise("one", refused)
			a.raise("two", &smtpreply.Error{Reason: smtpreply.ReasonAuthMechanism})
			a.raise("three", &smtpreply.Error{Reason: smtpreply.ReasonTimeout})
			a.raise("four", nil)
		}
		if n := told(); n != 2 {
			t.Errorf("%d alarms, want one for each of two smarthosts", n)
		}
		time.Sleep(alarmPause)
		a.raise("one", refused)
		if n := told(); n != 1 {
			t.Errorf("%d alarms after a minute", n)
		}
	})
}
