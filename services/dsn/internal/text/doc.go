// SPDX-License-Identifier: Apache-2.0

// Package text writes the part of a notification that a person reads (RFC 3464, section 1.2; RFC 6522, section 3):
// what happened, to whom, what the remote mail system said, and what to do about it, in words that need no knowledge of
// mail systems.
//
// It owns the wording for every reason and status. It does not decide whether a notification is due (package policy)
// and does not write header fields or the part for machines (package report). Text of a remote host is only ever quoted,
// cleaned and indented, so that it cannot be taken for ours.
package text
