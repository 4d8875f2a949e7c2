// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"strings"
	"testing"
)

func TestAdvice(t *testing.T) {
	const endpoint, trace = "http://127.0.0.1:4317", "4bf92f3577b34da6a3ce929d0e0e4736"
	for name, c := range map[string]struct {
		env      map[string]string
		exported bool
	}{
		"nothing":          {nil, false},
		"collector":        {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}, true},
		"traces only":      {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint}, true},
		"traces are off":   {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_EXPORTER": "none"}, false},
		"telemetry is off": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SDK_DISABLED": "true"}, false},
	} {
		got := advice(func(key string) string { return c.env[key] }, trace)
		if strings.Contains(got, trace) != c.exported || strings.Contains(got, "OTEL_EXPORTER_OTLP_ENDPOINT=") == c.exported {
			t.Errorf("%s: %q", name, got)
		}
	}
}
