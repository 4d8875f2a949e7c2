// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"fmt"
	"os"
	"strings"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// spanExporter returns what the OTEL_* variables ask for, nil for nothing.
func spanExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	kind := os.Getenv("OTEL_TRACES_EXPORTER")
	endpoint := firstOf("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	if disabled() || kind == "none" || (kind == "" && endpoint == "") {
		return nil, nil //nolint:nilnil // nothing to export to is no fault
	}
	protocol := firstOf("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	if (kind == "" || kind == "otlp") && protocol == "" {
		return otlptracegrpc.New(ctx)
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER=%q, protocol %q: %w", kind, protocol, err)
	}
	return exporter, nil
}

// metricReader returns a reader that pushes where the OTEL_* variables ask for it, nil for none. A collector for traces
// alone is common, so OTEL_EXPORTER_OTLP_ENDPOINT does not start a push of metrics.
func metricReader(ctx context.Context) (sdkmetric.Reader, error) {
	kind := os.Getenv("OTEL_METRICS_EXPORTER")
	endpoint := os.Getenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
	// Prometheus reads from our own port anyway: a second HTTP server would only take another one.
	if disabled() || kind == "none" || kind == "prometheus" || (kind == "" && endpoint == "") {
		return nil, nil //nolint:nilnil // as above
	}
	protocol := firstOf("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	if (kind == "" || kind == "otlp") && protocol == "" {
		exporter, err := otlpmetricgrpc.New(ctx)
		if err != nil {
			return nil, err
		}
		return sdkmetric.NewPeriodicReader(exporter), nil
	}
	reader, err := autoexport.NewMetricReader(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_METRICS_EXPORTER=%q, protocol %q: %w", kind, protocol, err)
	}
	return reader, nil
}

func disabled() bool { return strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") }

// firstOf returns the first of the variables that is set.
func firstOf(names ...string) string {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	return ""
}
