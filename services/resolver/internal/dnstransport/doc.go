// SPDX-License-Identifier: Apache-2.0

// Package dnstransport carries one query to one server over UDP or TCP and waits for the message that answers it
// (RFC 1035, section 4.2; RFC 7766; RFC 5452, section 9).
//
// It owns sockets and deadlines and decides nothing: what a failure means and what is tried next is dnsexchange's.
// Every query has its own socket with a port the kernel draws at random, and a random id.
package dnstransport
