// SPDX-License-Identifier: Apache-2.0

// Package content reads a submitted message once, piece by piece, and hands it on in the form in which it is stored
// and sent: lines that end in CRLF, no NUL, a header block within its limits, without Bcc and Return-Path, with our own
// header fields in front.
//
// It owns the rules for what a message may look like (G-06 to G-09, G-18, S-66; RFC 5322, sections 2.1 and 3.6; RFC
// 5321, sections 2.3.8 and 4.5.2) and the facts the queue keeps of it: size, digest, header size, 8-bit and SMTPUTF8
// need, lines that begin with a dot. Its memory is bounded by the header limit and one piece, whatever the message's
// size. It knows nothing of envelopes, gRPC or storage, and it does not judge loops: it only counts.
package content
