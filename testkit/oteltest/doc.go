// SPDX-License-Identifier: Apache-2.0

// Package oteltest is a trace collector inside the test: an OTLP/gRPC receiver on a loopback port that keeps the spans
// it is sent, with their resource, and gives them back as values and trees. A process under test is pointed at it by
// OTEL_EXPORTER_OTLP_ENDPOINT (see [Sink.Env]).
//
// It takes traces only, without TLS, and forgets nothing until it is closed or told to.
package oteltest
