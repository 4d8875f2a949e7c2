// SPDX-License-Identifier: Apache-2.0

// Package house holds the tests of what no single module can test of itself: that imports run one way, that the
// contracts need nothing but grpc and protobuf, that every RFC the code cites is in docs/rfcs.md, and that every
// command README and docs show is one the Makefile or the program has. It has no code of its own.
package house
