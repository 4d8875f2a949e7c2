// SPDX-License-Identifier: Apache-2.0

// Package smtplisten is the SMTP door of the gateway (RFC 5321, RFC 6409): it speaks the protocol with software that
// knows nothing else, and hands each message to the same submission as a gRPC call. It decides nothing about envelopes,
// contents, loops or the queue; it only says in SMTP what the package submit answers.
//
// It owns the framing, since message smuggling is a matter of framing alone: a line ends in CRLF and in nothing else,
// the data end with CRLF.CRLF and with nothing else, and a bare CR or a bare LF, wherever it stands, ends the connection
// (G-08, G-10). What came in clear text before TLS is never read after it (G-11; RFC 3207, section 4.2).
//
// Extensions: PIPELINING, SIZE, 8BITMIME, SMTPUTF8, DSN, ENHANCEDSTATUSCODES, STARTTLS, AUTH PLAIN and LOGIN, and
// REQUIRETLS inside TLS.
package smtplisten
