// SPDX-License-Identifier: Apache-2.0

// Package scan owns how an operator's change reaches mail that waits (queue.md, section 6): the owner of a partition goes
// through its RETRY streams, or through PARK, in order, and appends copies of what the change means to RETRY_0, where
// they are due at once. What a copy then comes to is decided when it is read, as for any other record.
//
// Of a RETRY stream the copies of one segment are stored together, then the progress of the scan: an original it has
// passed and that matches is skipped when it comes due, without any memory of it. Of PARK a whole segment is copied, and
// then deleted. In between a crash leaves copies that the next owner's ledger knows, because the fold is pinned from
// before they are stored; it goes on with the same segment and copies what is missing. Nothing is copied twice.
package scan
