// SPDX-License-Identifier: Apache-2.0

// Package progress owns how far the owner of a partition has come: what it has read and not yet settled, where the
// floors stand, where a later owner has to begin its fold, how much is held at once, and what may have been delivered
// by an owner before it that was cut off. From it come the checkpoint and the marks of possible duplicates.
//
// It decides and does nothing else: it knows no stream but by name, no lease and no network. It is not safe for
// concurrent use.
package progress
