// SPDX-License-Identifier: Apache-2.0

// Package dsn is the service that tells senders what became of their mail: delivery status notifications (RFC 3461,
// RFC 3464, RFC 6522, RFC 6533, RFC 3834).
//
// It owns whether a notification is due, what it says, and that exactly one comes of each outcome and kind, whatever
// crashes. It reads the outcomes that may need one in the order in which they were stored, hands each notification to
// the gateway under an idempotency key, and moves a durable cursor only over what was accepted. It never decides what
// became of mail (that is the sender's), and delivers nothing: a notification is mail like any other.
package dsn
