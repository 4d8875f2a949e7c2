// SPDX-License-Identifier: Apache-2.0

// Package sender is the service that delivers mail: it reads the queue, attempts each record by the route the resolver
// gives, and stores what came of it. It decides outcomes; nobody else does.
//
// The way of a record: internal/ownership takes partitions by lease, internal/tenure reads and settles one partition,
// internal/intake says what becomes of a record, internal/lanes in which order records are attempted, internal/dispatch
// runs the attempts, internal/attempt makes one (RFC 5321, section 5.1), internal/settle says what is written.
//
// It does not look names up, does not write notifications, and has no state of its own: everything stands in the queue.
package sender
