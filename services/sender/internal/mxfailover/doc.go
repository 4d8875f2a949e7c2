// SPDX-License-Identifier: Apache-2.0

// Package mxfailover walks the hosts and addresses of a route until the message is taken or none is left (RFC 5321,
// section 5.1).
//
// It owns the order and the limits of one attempt, which time a greeting has (S-02), which TLS policy a
// host is held to, and the record of why each address was left. What a failure leads to is package verdict's; the
// words with a host are package smtpclient's, sessions kept for the next message package pool's; the hosts themselves come
// from the resolver. It keeps nothing between two attempts but what packages pool and hostmemory hold.
package mxfailover
