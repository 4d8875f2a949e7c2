// SPDX-License-Identifier: Apache-2.0

// Package telemetry sets up traces and metrics for a process and carries trace context through the queue.
//
// Where spans go, the standard OTEL_* variables say; with none of them set nothing is exported, and spans only give their
// ids. Metrics are read by Prometheus. The package sets no OpenTelemetry globals: who makes spans takes the provider it
// is given. Which spans exist and what they say is the services' affair.
package telemetry
