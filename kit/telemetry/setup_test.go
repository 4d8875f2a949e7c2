// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/testkit/oteltest"
)

// cleanEnv removes what the machine says about telemetry.
func cleanEnv(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL",
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_SERVICE_NAME",
		"OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
	} {
		t.Setenv(name, "")
	}
}

func setup(t *testing.T, cfg config.Telemetry, opts ...Option) *Telemetry {
	t.Helper()
	tel, err := Setup(t.Context(), cfg, "gateway", opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tel.Shutdown(context.Background()) })
	return tel
}

func TestSetup_NothingConfiguredExportsNothing(t *testing.T) {
	cleanEnv(t)
	tel := setup(t, config.DefaultTelemetry())
	ctx, span := tel.Tracer().Tracer("test").Start(t.Context(), "a")
	defer span.End()
	if span.IsRecording() || span.SpanContext().IsSampled() {
		t.Error("a span is recorded for nobody")
	}
	if !span.SpanContext().IsValid() || Traceparent(ctx) == "" {
		t.Error("a span has no ids")
	}
	// It stays in its caller's trace, state included.
	remote := ExtractRecord(t.Context(), InjectRecord(ctx))
	_, child := tel.Tracer().Tracer("test").Start(remote, "b")
	if child.SpanContext().TraceID() != span.SpanContext().TraceID() {
		t.Error("a new trace was begun")
	}
}

// TestSetup_OTLPOverGRPCIsTheDefault: an endpoint alone is enough; so are the variables of the test sink.
func TestSetup_OTLPOverGRPCIsTheDefault(t *testing.T) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		t.Run(name, func(t *testing.T) {
			cleanEnv(t)
			sink := oteltest.Start(t)
			t.Setenv(name, "http://"+sink.Addr())
			t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
			tel := setup(t, config.DefaultTelemetry(), WithVersion("1.2.3"))
			_, span := tel.Tracer().Tracer("test").Start(t.Context(), "gateway.submit", trace.WithAttributes(attribute.String("mail.message_id", "01J")))
			span.End()
			got := sink.Await(10*time.Second, oteltest.Named("gateway.submit"))
			if got.Service() != "gateway" || got.Resource["service.version"] != "1.2.3" || got.Resource["service.namespace"] != "postrider" || got.Str("mail.message_id") != "01J" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestSetup_StandardVariablesWin(t *testing.T) {
	cleanEnv(t)
	sink := oteltest.Start(t)
	for _, pair := range sink.Env() {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
	t.Setenv("OTEL_SERVICE_NAME", "mail-gateway")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	tel := setup(t, config.DefaultTelemetry())
	_, span := tel.Tracer().Tracer("test").Start(t.Context(), "a")
	span.End()
	got := sink.Await(10*time.Second, oteltest.Named("a"))
	if got.Service() != "mail-gateway" || got.Resource["deployment.environment.name"] != "test" {
		t.Errorf("resource %v", got.Resource)
	}
}

func TestSetup_WaysToExportNothing(t *testing.T) {
	for name, value := range map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "none"} {
		t.Run(name, func(t *testing.T) {
			cleanEnv(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(name, value)
			tel := setup(t, config.DefaultTelemetry())
			_, span := tel.Tracer().Tracer("test").Start(t.Context(), "a")
			if span.IsRecording() {
				t.Error("recorded")
			}
		})
	}
}

func TestSetup_UnknownExportersAreErrors(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_TRACES_EXPORTER": "carrier-pigeon", "OTEL_METRICS_EXPORTER": "carrier-pigeon",
	} {
		t.Run(name, func(t *testing.T) {
			cleanEnv(t)
			t.Setenv(name, value)
			if _, err := Setup(t.Context(), config.DefaultTelemetry(), "gateway"); err == nil || !strings.Contains(err.Error(), "carrier-pigeon") {
				t.Errorf("got %v", err)
			}
		})
	}
	cleanEnv(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke")
	if _, err := Setup(t.Context(), config.DefaultTelemetry(), "gateway"); err == nil || !strings.Contains(err.Error(), "smoke") {
		t.Errorf("an unknown protocol: %v", err)
	}
}

func TestSetup_Sampling(t *testing.T) {
	unsampled := ExtractRecord(context.Background(), InjectRecord(trace.ContextWithSpanContext(context.Background(),
		trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}))))
	for name, tt := range map[string]struct {
		traces, sampler string
		root, child     bool // exported without a caller, with one that does not sample
	}{
		"all":              {config.TracesAll, "", true, true},
		"env, default":     {config.TracesEnv, "", true, false},
		"env, always_off":  {config.TracesEnv, "always_off", false, false},
		"env, always_on":   {config.TracesEnv, "always_on", true, true},
		"all, always_off":  {config.TracesAll, "always_off", true, true},
		"interesting, all": {config.TracesInteresting, "always_off", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			cleanEnv(t)
			t.Setenv("OTEL_TRACES_SAMPLER", tt.sampler)
			spans := tracetest.NewInMemoryExporter()
			kept := keepAll{spans}
			tel := setup(t, config.Telemetry{Traces: tt.traces, InterestingShare: 1}, WithExporter(kept))
			tracer := tel.Tracer().Tracer("test")
			_, root := tracer.Start(context.Background(), "root")
			root.End()
			_, child := tracer.Start(unsampled, "child")
			child.End()
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			for _, s := range spans.GetSpans() {
				got[s.Name] = true
			}
			if got["root"] != tt.root || got["child"] != tt.child {
				t.Errorf("exported %v", got)
			}
		})
	}
}

// keepAll is an exporter whose spans outlive its end.
type keepAll struct{ *tracetest.InMemoryExporter }

func (keepAll) Shutdown(context.Context) error { return nil }

func TestSetup_InterestingTraces(t *testing.T) {
	cleanEnv(t)
	spans := tracetest.NewInMemoryExporter()
	tel := setup(t, config.Telemetry{Traces: config.TracesInteresting}, WithExporter(keepAll{spans}))
	tracer := tel.Tracer().Tracer("test")
	for _, name := range []string{"dull", "deferred"} {
		ctx, attempt := tracer.Start(context.Background(), name)
		_, host := tracer.Start(ctx, name+".host")
		host.End()
		if name == "deferred" {
			MarkInteresting(ctx)
		}
		MarkSettled(ctx)
		attempt.End()
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range spans.GetSpans() {
		names = append(names, s.Name)
	}
	if got := strings.Join(names, " "); got != "deferred.host deferred" {
		t.Errorf("exported %s", got)
	}
}

// TestShutdown_OfADeadCollectorIsBounded: a collector that takes the connection and never answers.
func TestShutdown_OfADeadCollectorIsBounded(t *testing.T) {
	cleanEnv(t)
	var lc net.ListenConfig
	dead, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dead.Close() }()
	go func() {
		for {
			conn, err := dead.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn); _ = conn.Close() }()
		}
	}()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+dead.Addr().String())
	tel := setup(t, config.DefaultTelemetry())
	_, span := tel.Tracer().Tracer("test").Start(t.Context(), "a")
	span.End()
	begun := time.Now()
	err = tel.Shutdown(t.Context())
	if took := time.Since(begun); took > shutdownLimit+2*time.Second {
		t.Errorf("took %s", took)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestMetricsHandler(t *testing.T) {
	cleanEnv(t)
	tel := setup(t, config.DefaultTelemetry())
	counter, err := tel.Meter().Meter("test").Int64Counter("postrider.outcomes", metric.WithDescription("Outcomes."))
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 3, metric.WithAttributes(attribute.String("reason", "no_greeting")))
	recorder := httptest.NewRecorder()
	tel.MetricsHandler().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	body := recorder.Body.String()
	for _, want := range []string{"postrider_outcomes_total{", `reason="no_greeting"`, "} 3\n", "go_goroutines ", "process_open_fds ", `service_name="gateway"`} {
		if !strings.Contains(body, want) {
			t.Errorf("not in the metrics: %s", want)
		}
	}
}

// TestSetup_TwiceInOneProgram: the all-in-one and its tests have several processes in one; no globals are touched.
func TestSetup_TwiceInOneProgram(t *testing.T) {
	cleanEnv(t)
	global := otel.GetTracerProvider()
	a, b := setup(t, config.DefaultTelemetry()), setup(t, config.DefaultTelemetry())
	if a.Tracer() == b.Tracer() || otel.GetTracerProvider() != global {
		t.Error("shared state")
	}
}
