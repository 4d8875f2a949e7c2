// SPDX-License-Identifier: Apache-2.0

// Package intake owns what becomes of a record that is read: record to disposition (queue.md, section 4). What an
// earlier owner settled is skipped; what it deferred but did not move is moved, without a further attempt; what waits
// for a later moment waits on; what cannot be decoded is held; everything else is attempted, marked when an owner that
// was cut off may have delivered it.
//
// A Desk is the whole memory of one owner about one partition and does no input or output, so that the protocol can be
// tested without a server. It is not safe for concurrent use.
package intake
