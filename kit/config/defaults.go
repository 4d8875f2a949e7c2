// SPDX-License-Identifier: Apache-2.0

package config

import "time"

// DefaultNode returns a node without a name whose metrics stand beside its gRPC port.
func DefaultNode() Node { return Node{OwnHosts: []string{}, OwnAddresses: []string{}} }

// DefaultNATS returns the embedded server in ./postrider-data.
func DefaultNATS() NATS {
	return NATS{DataDir: "postrider-data", MaxStore: 20 * GiB, OutcomeBytes: 4 * GiB}
}

// DefaultQueue returns one partition embedded, 16 external, and a lease of 10 s.
func DefaultQueue() Queue { return Queue{LeaseTTL: Duration(10 * time.Second)} }

// DefaultTelemetry returns all traces.
func DefaultTelemetry() Telemetry { return Telemetry{Traces: TracesAll, InterestingShare: 0.01} }

// Embedded reports that the NATS server runs in this process.
func (n NATS) Embedded() bool { return n.URL == "" }

// ReplicaCount returns the copies of each stream. 0 with an external server is what fits it: 3 in a cluster, else 1.
func (n NATS) ReplicaCount() int {
	if n.Embedded() {
		return max(n.Replicas, 1)
	}
	return n.Replicas
}

// PartitionCount returns the number of partitions, with 0 resolved.
func (q Queue) PartitionCount(embedded bool) int {
	switch {
	case q.Partitions > 0:
		return q.Partitions
	case embedded:
		return 1
	default:
		return 16
	}
}
