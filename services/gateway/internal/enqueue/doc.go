// SPDX-License-Identifier: Apache-2.0

// Package enqueue makes queue records of a checked message and appends them to MAIL: one record for each destination
// and at most 100 recipients, all of a message in one segment, stored whole or not at all.
//
// It owns the split, where the content lies (behind the records, or in the body store) and the translation of the
// queue's errors for the caller (G-13, G-14). A message is accepted when Append has returned, never before. It
// checks neither envelope nor content.
package enqueue
