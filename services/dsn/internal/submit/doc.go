// SPDX-License-Identifier: Apache-2.0

// Package submit hands finished notifications to the gateway, each exactly once.
//
// It owns the envelope of a notification (null reverse-path, NOTIFY=NEVER: RFC 3461, section 6.1; RFC 3464, section 2),
// the idempotency key by which a repeated call is known, and the waiting when the gateway does not take it now: a
// notification is repeated until it is accepted or refused for good. It does not decide and does not write
// notifications.
package submit
