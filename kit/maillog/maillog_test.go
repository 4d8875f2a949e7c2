// SPDX-License-Identifier: Apache-2.0

package maillog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
)

func logger() (Logger, *bytes.Buffer) {
	var out bytes.Buffer
	return New(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))), &out
}

func fields(t *testing.T, out *bytes.Buffer) map[string]any {
	t.Helper()
	got := map[string]any{}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	out.Reset()
	delete(got, "time")
	return got
}

// TestLogger_EveryEventHasItsThreeFields: message id, attempt and recipient domain, whatever else is known.
func TestLogger_EveryEventHasItsThreeFields(t *testing.T) {
	log, out := logger()
	for event, write := range map[string]func(context.Context, Event){
		"accepted": log.Accepted, "refused": log.Refused, "attempted": log.Attempted, "deferred": log.Deferred,
		"delivered": log.Delivered, "bounced": log.Bounced, "expired": log.Expired, "notified": log.Notified,
		"notify_throttled": log.Throttled,
		"repeated":         log.Repeated,
	} {
		write(t.Context(), Event{})
		got := fields(t, out)
		level := "INFO"
		if event == "bounced" || event == "expired" || event == "repeated" {
			level = "WARN"
		}
		want := map[string]any{"level": level, "msg": event, "message_id": "", "attempt": 0.0, "domain": ""}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", event, got)
		}
	}
}

func TestLogger_WritesWhatIsKnown(t *testing.T) {
	log, out := logger()
	log.Deferred(t.Context(), Event{
		MessageID: "01J", Attempt: 2, Domain: "example.com", Recipients: 3, Size: 1234, Caller: "app", Host: "mx1.example.com",
		Address: "192.0.2.1:25", TLS: "TLS 1.3", Kind: "delayed", NotificationID: "01K",
		Failure: &smtpreply.Error{Stage: smtpreply.StageRcpt, Code: 450, Enhanced: smtpreply.Code(4, 2, 0), Text: []string{"later"}, Reason: "r", Detail: "d"},
		Next:    time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("x", 3600)), Duration: time.Second,
	})
	want := map[string]any{
		"level": "INFO", "msg": "deferred", "message_id": "01J", "attempt": 2.0, "domain": "example.com", "recipients": 3.0,
		"size": 1234.0, "caller": "app", "host": "mx1.example.com", "address": "192.0.2.1:25", "tls": "TLS 1.3", "stage": "rcpt",
		"status": "4.2.0", "reason": "r", "detail": "d", "reply": "450 4.2.0 later", "next_attempt_at": "2026-01-02T02:04:05Z",
		"duration_seconds": 1.0, "kind": "delayed", "notification_id": "01K",
	}
	if got := fields(t, out); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	log.Delivered(t.Context(), Event{Reply: smtpreply.Reply{Code: 250, Enhanced: smtpreply.Code(2, 0, 0), Lines: []string{"queued"}}, Reason: "x"})
	if got := fields(t, out); got["reply"] != "250 2.0.0 queued" || got["reason"] != "x" {
		t.Errorf("got %v", got)
	}
	// The reply that decided stands before that of the failure; the cause of a failure is not for this log.
	log.Bounced(t.Context(), Event{Reply: smtpreply.Reply{Code: 521}, Failure: &smtpreply.Error{Code: 450, Err: errors.New("secret")}})
	if got := out.String(); !strings.Contains(got, `"reply":"521"`) || strings.Contains(got, "secret") {
		t.Errorf("got %s", got)
	}
}

// TestLogger_NeverFullAddresses: neither as domain nor in what a remote host says.
func TestLogger_NeverFullAddresses(t *testing.T) {
	log, out := logger()
	log.Bounced(t.Context(), Event{
		Domain: "bob.private@example.com",
		Failure: &smtpreply.Error{
			Code: 550, Detail: `mail to bob.private@example.com failed`,
			Text: []string{"<bob.private@example.com>: unknown", `"bob private"@example.com and (bob.private@example.com,bob.private@example.org)`},
		},
	})
	line := out.String()
	if strings.Contains(line, "private") {
		t.Errorf("an address stands in %s", line)
	}
	for _, want := range []string{`"domain":"example.com"`, "<*@example.com>: unknown", "*@example.org)"} {
		if !strings.Contains(line, want) {
			t.Errorf("%s is missing in %s", want, line)
		}
	}
}

func TestLogger_OneLineWhateverTheRemoteSays(t *testing.T) {
	var out bytes.Buffer
	log := New(slog.New(slog.NewTextHandler(&out, nil)))
	log.Bounced(t.Context(), Event{
		Domain: "a\nb", Host: "mx\r\n.example", Reason: "r\x1b[0m",
		Reply: smtpreply.Reply{Code: 550, Lines: []string{strings.Repeat("ü", 5000), "x\nlevel=INFO msg=delivered"}},
	})
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("%d lines: %s", n, out.String())
	}
	if strings.Contains(out.String(), "\x1b") || out.Len() > 2000 {
		t.Errorf("%d bytes: %s", out.Len(), out.String())
	}
}

func TestLogger_Discards(t *testing.T) {
	Logger{}.Accepted(t.Context(), Event{})
	New(nil).Accepted(t.Context(), Event{})
	quiet := New(slog.New(slog.NewJSONHandler(nil, &slog.HandlerOptions{Level: slog.LevelError})))
	quiet.Bounced(t.Context(), Event{}) // would write to a nil writer
	if n := testing.AllocsPerRun(100, func() { quiet.Delivered(context.Background(), Event{MessageID: "x"}) }); n != 0 {
		t.Errorf("%v allocations for a line nobody reads", n)
	}
}

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "",
		"no address":                   "no address",
		"bob@example.com":              "*@example.com",
		"<bob@example.com>":            "<*@example.com>",
		"a@b c@d":                      "*@b *@d",
		"a@b@c":                        "*@*@c",
		"@":                            "*@",
		"x @y":                         "x *@y",
		`"a b"@c`:                      "*@c",
		`say "hi" to "a b"@c`:          "say *@c",
		`"@c`:                          `"*@c`,
		"to:bob@example.com,a@b":       "to:*@example.com,*@b",
		strings.Repeat("x", 401):       strings.Repeat("x", 400) + "...",
		strings.Repeat("x", 399) + "ü": strings.Repeat("x", 399) + "...",
	} {
		if got := mask(in); got != want {
			t.Errorf("mask(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzMask: every @ in the result stands behind a star, and what is no address is left as it was.
func FuzzMask(f *testing.F) {
	for _, seed := range []string{"bob@example.com", `"a b"@c`, "<a@b>", "@", `"@"@x`, strings.Repeat("a@", 300)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := mask(text)
		for i := range len(got) {
			if got[i] == '@' && (i == 0 || got[i-1] != '*') {
				t.Fatalf("mask(%q) = %q", text, got)
			}
		}
		if len(text) <= maxText && !strings.Contains(text, "@") && got != text {
			t.Fatalf("mask(%q) = %q", text, got)
		}
		if len(got) > 2*maxText+3 {
			t.Fatalf("%d bytes", len(got))
		}
	})
}
