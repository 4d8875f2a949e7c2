// SPDX-License-Identifier: Apache-2.0

// Package fingerprint says which messages are equal but for what a mail system writes anew each time: digits, dates, ids,
// white space and case (L-06), and which of them are responses, sent by a machine because a message came (L-07; RFC
// 3834, section 2).
//
// It owns the reading of the text (the first text part of a MIME body, RFC 2045 and 2046, decoded) and what is left out
// of it. Addresses are never changed, and of a report Final-Recipient and Action stand as they are (RFC 3464, section
// 2.3), so that bounces of different recipients are different. It counts nothing (package recurrence) and decides
// nothing.
package fingerprint
