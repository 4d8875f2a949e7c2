// SPDX-License-Identifier: Apache-2.0

// Package dnsexchange asks the configured servers one question and gives the first good answer (R-28 to,
//
//
// It owns what is tried next: the same server again, without EDNS0, over the other transport, the next server; and the
// memory that makes a repetition cheap: which server knows no EDNS0 (10 minutes), which server failed which question
// and by serverhealth which server or transport is skipped. A race runs over the servers, an ask over the
// transports of one server, a leg over the queries of one transport; each is one file. Nothing is cached here, and no
// alias is followed beyond the message it stands in.
package dnsexchange
