// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func TestLogHandler_AddsTheTrace(t *testing.T) {
	traced := ExtractRecord(context.Background(), &eventv1.TraceContext{Traceparent: parent})
	var out bytes.Buffer
	log := slog.New(LogHandler(slog.NewJSONHandler(&out, nil)))
	line := func() map[string]any {
		t.Helper()
		fields := map[string]any{}
		if err := json.Unmarshal(out.Bytes(), &fields); err != nil {
			t.Fatalf("%v in %s", err, out.String())
		}
		out.Reset()
		return fields
	}
	log.InfoContext(traced, "x")
	if got := line(); got["trace_id"] != parent[3:35] || got["span_id"] != parent[36:52] {
		t.Errorf("got %v", got)
	}
	log.With("service", "gateway").InfoContext(traced, "x")
	if got := line(); got["trace_id"] != parent[3:35] || got["service"] != "gateway" {
		t.Errorf("after With: %v", got)
	}
	log.WithGroup("g").InfoContext(traced, "x")
	if got, ok := line()["g"].(map[string]any); !ok || got["trace_id"] != parent[3:35] {
		t.Errorf("after WithGroup: %v", got)
	}
	log.InfoContext(context.Background(), "x")
	if got := line(); got["trace_id"] != nil || got["span_id"] != nil {
		t.Errorf("without a trace: %v", got)
	}
	log.DebugContext(traced, "x")
	if out.Len() != 0 {
		t.Errorf("the level was lost: %s", out.String())
	}
}
