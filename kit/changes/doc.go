// SPDX-License-Identifier: Apache-2.0

// Package changes owns what operators' changes mean: which mail a change matches, and what of several that match the
// same mail holds (queue.md, section 6). It mirrors the stored changes in memory, so that nobody asks for them mail by
// mail: the sender, which carries them out, and the gateway, which shows them.
//
// A change's predicate is over fields of a record that never change: message id or destination, and when it was
// accepted. Of a hold and a release that match the same record the later one holds; so it is with a suspension and its
// end. A cancel is never taken back. How changes are stored is for package bus, what is done about them for the sender.
package changes
