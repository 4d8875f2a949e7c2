// SPDX-License-Identifier: Apache-2.0

// Package follow reads the outcomes that may need a notification, in the order in which they were stored, and keeps a
// durable cursor for each partition: everything at or below it is settled.
//
// It owns the reading, the bounds on what is under way, and the cursor. The cursor only moves over what is settled, so
// after a crash some outcomes are handled a second time and none is left out; that a second time makes no second
// notification is the idempotency key's business (packages policy and submit). It does not decide what an outcome needs
// (package notify).
package follow
