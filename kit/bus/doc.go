// SPDX-License-Identifier: Apache-2.0

// Package bus owns how the queue lies in NATS JetStream: names of streams and subjects, the wire form of a
// segment, group commit, fenced appends, ordered reading, leases, checkpoints and purging. Nothing outside this
// package writes a stream name, a subject or a segment's bytes.
//
// Everything is an append-only log and nothing is ever acknowledged to a consumer. A segment is one JetStream
// message that holds many records and is stored whole or not at all: one flush to disk for all of them. The
// servers that hold mail run with "sync_interval: always", so an answer to a publish means that the disk has it.
//
// The package does not decide anything about mail: which record is settled, where a floor stands and when a
// wait is over is for the sender to say. Contents too large for a segment are in package bodystore.
package bus
