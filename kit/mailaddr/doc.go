// SPDX-License-Identifier: Apache-2.0

// Package mailaddr reads and compares envelope addresses: the Mailbox of RFC 5321, section 4.1.2, with the
// internationalised local parts and domains of RFC 6531, address literals (RFC 5321, section 4.1.3), and the xtext of
// the DSN parameters (RFC 3461, section 4).
//
// It owns the syntax and its limits, the form of a domain that DNS, SNI and the queue use, and equality. It does not
// read header fields (RFC 5322 addresses with display names and comments) and asks no DNS.
package mailaddr
