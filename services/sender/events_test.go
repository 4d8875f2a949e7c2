// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"github.com/postrider/postrider/kit/runner"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/lanes"
	"github.com/postrider/postrider/services/sender/internal/site"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

// TestEventLines checks that each host that was left has a line, and that the one that took the mail stands in the line
// of the delivery alone: a delivery at the first host is one line.
func TestEventLines(t *testing.T) {
	var out bytes.Buffer
	env := runner.Env{Log: slog.New(slog.NewJSONHandler(&out, nil)), Meter: noop.NewMeterProvider()}
	e, err := newEvents(env, lanes.New[*tenure.Record](lanes.Limits{}, site.New(1, nil)))
	if err != nil {
		t.Fatal(err)
	}
	silent := &smtpreply.Error{Stage: smtpreply.StageGreeting, Reason: smtpreply.ReasonNoGreeting}
	left := &eventv1.HostTry{Host: "mx1.example", Address: "192.0.2.1:25", Failure: silent.Proto()}
	took := &eventv1.HostTry{Host: "mx2.example", Address: "192.0.2.2:25", Tls: &eventv1.TLSResult{Version: "TLS 1.3"}}
	delivered := &eventv1.RecipientResult{State: eventv1.RecipientState_RECIPIENT_STATE_DELIVERED, RemoteMta: "mx2.example"}
	o := &eventv1.Outcome{
		MessageId: "01HX0000000000000000000000", Destination: "example.org", Results: []*eventv1.RecipientResult{delivered, delivered},
		Attempt: &eventv1.Attempt{Number: 1, Hosts: []*eventv1.HostTry{left, took}},
	}
	e.Settling(&eventv1.QueuedMail{}, o, time.Time{})

	var lines []map[string]any
	for line := range bytes.Lines(out.Bytes()) {
		fields := map[string]any{}
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fields)
	}
	if len(lines) != 2 {
		t.Fatalf("%d lines, want one of the host that was left and one of the delivery:\n%s", len(lines), out.String())
	}
	for i, want := range []map[string]any{
		{"msg": "attempted", "host": "mx1.example", "address": "192.0.2.1:25", "reason": "no_greeting"},
		{"msg": "delivered", "host": "mx2.example", "address": "192.0.2.2:25", "tls": "TLS 1.3", "recipients": 2.0},
	} {
		for key, value := range want {
			if lines[i][key] != value {
				t.Errorf("line %d: %s is %v, want %v", i, key, lines[i][key], value)
			}
		}
	}
}
