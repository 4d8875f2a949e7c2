// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/kit/config"
)

// shutdownLimit bounds Shutdown, also with a collector that does not answer.
const shutdownLimit = 3 * time.Second

// spanQueue is how many spans wait for their export.
const spanQueue = 16384

// Telemetry is the traces and metrics of a process.
type Telemetry struct {
	tracer   *sdktrace.TracerProvider
	meter    *sdkmetric.MeterProvider
	registry *prometheus.Registry
}

// Option changes Setup, for tests and for programs that hold their own exporter.
type Option func(*settings)

type settings struct {
	exporter sdktrace.SpanExporter
	observer sdktrace.SpanProcessor
	version  string
}

// WithExporter sends spans to exporter instead of where the OTEL_* variables say.
func WithExporter(exporter sdktrace.SpanExporter) Option {
	return func(s *settings) { s.exporter = exporter }
}

// WithObserver also shows every span to observer as it starts and ends, whatever is exported. It is for programs that
// tell their user what happened, such as the demo.
func WithObserver(observer sdktrace.SpanProcessor) Option {
	return func(s *settings) { s.observer = observer }
}

// WithVersion sets service.version of the resource.
func WithVersion(version string) Option {
	return func(s *settings) { s.version = version }
}

// Setup builds the providers of a process. service is service.name unless OTEL_SERVICE_NAME says otherwise. Spans go to
// OTLP over gRPC when OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set, unless
// OTEL_TRACES_EXPORTER or OTEL_EXPORTER_OTLP_PROTOCOL names another way; nowhere when none of them is set or
// OTEL_SDK_DISABLED is true. Metrics are collected for MetricsHandler, and pushed as well when OTEL_METRICS_EXPORTER or
// OTEL_EXPORTER_OTLP_METRICS_ENDPOINT says so.
func Setup(ctx context.Context, cfg config.Telemetry, service string, opts ...Option) (*Telemetry, error) {
	var s settings
	for _, opt := range opts {
		opt(&s)
	}
	res, err := describe(ctx, service, s.version)
	if err != nil {
		return nil, err
	}
	exporter := s.exporter
	if exporter == nil {
		if exporter, err = spanExporter(ctx); err != nil {
			return nil, fmt.Errorf("set up traces: %w", err)
		}
	}
	t := &Telemetry{registry: prometheus.NewRegistry()}
	if t.meter, err = meterProvider(ctx, t.registry, res); err != nil {
		if exporter != nil {
			_ = exporter.Shutdown(ctx)
		}
		return nil, fmt.Errorf("set up metrics: %w", err)
	}
	t.tracer = tracerProvider(cfg, exporter, s.observer, res)
	return t, nil
}

// describe returns the resource: what the environment says, and the service.
func describe(ctx context.Context, service, version string) (*resource.Resource, error) {
	own := resource.NewSchemaless(semconv.ServiceName(service), semconv.ServiceNamespace("postrider"))
	if version != "" {
		own = resource.NewSchemaless(append(own.Attributes(), semconv.ServiceVersion(version))...)
	}
	env, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("describe the process to telemetry: %w", err)
	}
	merged, err := resource.Merge(own, env)
	if err != nil {
		return nil, fmt.Errorf("describe the process to telemetry: %w", err)
	}
	return merged, nil
}

// tracerProvider returns the provider for a configuration. With nobody to see them spans are not recorded, but have ids.
// All and interesting do not ask what the caller decided: a message's trace would else hang on a load balancer's setting.
func tracerProvider(cfg config.Telemetry, exporter sdktrace.SpanExporter, observer sdktrace.SpanProcessor, res *resource.Resource) *sdktrace.TracerProvider {
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(res)}
	if observer != nil {
		options = append(options, sdktrace.WithSpanProcessor(observer))
	}
	switch {
	case exporter == nil && observer == nil:
		return sdktrace.NewTracerProvider(append(options, sdktrace.WithSampler(idsOnly{}))...)
	case cfg.Traces != config.TracesEnv: // else the SDK reads OTEL_TRACES_SAMPLER, as no sampler is given
		options = append(options, sdktrace.WithSampler(sdktrace.AlwaysSample()))
	}
	if exporter != nil {
		processor := batches(exporter)
		if cfg.Traces == config.TracesInteresting {
			processor = newTail(processor, cfg.InterestingShare)
		}
		options = append(options, sdktrace.WithSpanProcessor(processor))
	}
	return sdktrace.NewTracerProvider(options...)
}

// batches returns a batch processor whose queue, unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise, outlasts a burst: a mail
// has about a dozen spans, and the SDK drops what does not fit.
func batches(exporter sdktrace.SpanExporter) sdktrace.SpanProcessor {
	if os.Getenv("OTEL_BSP_MAX_QUEUE_SIZE") != "" {
		return sdktrace.NewBatchSpanProcessor(exporter)
	}
	return sdktrace.NewBatchSpanProcessor(exporter, sdktrace.WithMaxQueueSize(spanQueue))
}

// idsOnly records nothing; spans have ids, which logs and records carry.
type idsOnly struct{}

// ShouldSample drops every span (sdktrace.Sampler).
func (idsOnly) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	return sdktrace.SamplingResult{
		Decision:   sdktrace.Drop,
		Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState(),
	}
}

// Description names the sampler (sdktrace.Sampler).
func (idsOnly) Description() string { return "IDsOnly" }

// meterProvider returns a provider that Prometheus reads, and that pushes where the environment says so.
func meterProvider(ctx context.Context, registry *prometheus.Registry, res *resource.Resource) (*sdkmetric.MeterProvider, error) {
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	pull, err := otelprom.New(otelprom.WithRegisterer(registry))
	if err != nil {
		return nil, err
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithReader(pull)}
	push, err := metricReader(ctx)
	if err != nil {
		return nil, err
	}
	if push != nil {
		options = append(options, sdkmetric.WithReader(push))
	}
	return sdkmetric.NewMeterProvider(options...), nil
}

// Tracer returns the provider of spans.
func (t *Telemetry) Tracer() trace.TracerProvider { return t.tracer }

// Meter returns the provider of instruments.
func (t *Telemetry) Meter() metric.MeterProvider { return t.meter }

// MetricsHandler serves the metrics in the format of Prometheus.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{Registry: t.registry, MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Shutdown sends what is left and ends, within 3 s whatever the collector does.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownLimit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- errors.Join(t.tracer.Shutdown(ctx), t.meter.Shutdown(ctx)) }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("shut down telemetry: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shut down telemetry: %w", ctx.Err())
	}
}
