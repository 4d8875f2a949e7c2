// SPDX-License-Identifier: Apache-2.0

// Package runner turns services into processes: it loads the configuration, sets up logs, traces and metrics, connects
// NATS, builds the gRPC server, serves metrics and health over HTTP, runs the services until a signal and lets them
// drain.
//
// Main is the whole main function of a process with one service. Run is the same for programs that hold several, such as
// the all-in-one, which joins its services by an in-memory listener. Main is the only place that ends the process. The
// package knows no service by name.
package runner
