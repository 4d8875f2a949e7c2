// SPDX-License-Identifier: Apache-2.0

// Package dnstest is a DNS server for tests, over real UDP and TCP sockets on one port of a loopback address. To its
// client it looks like a recursive resolver (RA set, RFC 1035, section 4.1.1) that knows one small zone, written as
// text in master-file form:
//
//	srv := dnstest.Start(t, `
//		example.test      MX  10 mx1.example.test
//		example.test      MX  20 mx2.example.test
//		mx1.example.test  A   127.0.0.2
//		mx2.example.test  A   127.0.0.3
//	`)
//
// Answers are honest by default: NXDOMAIN and NODATA with SOA (RFC 2308), CNAME chains, wildcards (RFC 4592), EDNS0
// (RFC 6891), truncation to the client's size. A [Behaviour] set for a [Match] makes it misbehave, per transport and
// question: silence, resets, forged and malformed answers, refusal of EDNS0, and what a [Behaviour] of the test does
// with the raw sockets. Every query is kept for assertions.
//
// The package does no recursion, no DNSSEC signing and no zone transfers.
package dnstest
