// SPDX-License-Identifier: Apache-2.0

// Package policy decides whether a delivery status notification is due for what an attempt came to (RFC 3461,
// sections 4.1 and 5.2; RFC 5321, section 4.5.5).
//
// It owns the choice of kind for each recipient and the reason when no notification is due. It is a pure function of
// the outcome: it holds no state, so the same outcome gives the same decisions after every restart. It does not write
// the notification (package report) and does not limit how many are sent (rule D-17).
package policy
