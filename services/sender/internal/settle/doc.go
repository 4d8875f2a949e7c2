// SPDX-License-Identifier: Apache-2.0

// Package settle owns what is written when an attempt is over (queue.md, section 5): the outcome as it is stored, what
// of the message stands behind it for a notification, and the one record that carries the remaining recipients on. It
// also makes the copies that spill, wait on or hold a record. All of it is from record to record; appending them, in
// that order, is for package tenure.
package settle
