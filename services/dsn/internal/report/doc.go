// SPDX-License-Identifier: Apache-2.0

// Package report writes delivery status notifications: the multipart/report of RFC 6522 with a text for a person, the
// machine-readable part of RFC 3464 (RFC 6533 where addresses are not ASCII) and what is returned of the original
// (RFC 3461, section 4.3), under the header fields of RFC 3834, section 5.
//
// It owns the form of the message down to its bytes, and the guarantee that nothing a remote host or the original says
// can become a header field, a field of the report or a part of its own. It does not decide whether a notification is
// due (package policy), does not choose the words for the person (package text) and sends nothing.
//
// A message is a pure function of its input: date, Message-ID and boundary come from the outcome. A notification that
// is made again after a crash therefore has the same bytes, and the gateway knows it by its idempotency key.
package report
