// SPDX-License-Identifier: Apache-2.0

// Package dnswire writes DNS queries and judges the bytes that come back: whether they answer this query at all
// (RFC 5452, section 9), what they say, and which of their records may be believed (RFC 2181, section 5.4.1).
//
// It owns the message format and opens no sockets. The format itself is read by github.com/miekg/dns; the rules are
// ours. It never panics and never loops on any input.
package dnswire
