// SPDX-License-Identifier: Apache-2.0

// Package smtptest is the other side of an SMTP client under test: real peers over loopback TCP, or over any
// [net.Conn] inside a testing/synctest bubble.
//
// It has two styles. [Serve], [Script] and [Pipe] run a conversation: a function that reads as the SMTP dialogue, one
// [Conn] method a step, and that fails the test where the client departs from it. A conversation can be silent, cut a
// reply in half, reset, close its window, speak out of turn. [NewHost] is a whole receiving host (RFC 5321) that keeps
// every message, and every departure of the client from the protocol; hooks change single replies. [StartHost] is the
// same host without a test, for demos and sink processes.
//
// [ListenShared], [SharedPort] and [Refuse] arrange several hosts on one port of different loopback addresses, as MX
// hosts are. [NewCA] issues certificates for STARTTLS (RFC 3207).
//
// The package does not know any type of the client and does not deliver mail. It is written for tests: it is not
// hardened for strangers and listens on loopback addresses only as its caller asks.
package smtptest
