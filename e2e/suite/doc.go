// SPDX-License-Identifier: Apache-2.0

// Package suite starts Postrider as its users do, as real processes on real files, for the end-to-end tests: all in
// one process with an embedded NATS, or four services beside a stand-alone nats-server. A test body sees the same
// Suite either way. The package owns the processes and their configuration files; mail hosts, DNS and the trace
// sink come from testkit.
package suite
