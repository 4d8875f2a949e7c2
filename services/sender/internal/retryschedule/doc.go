// SPDX-License-Identifier: Apache-2.0

// Package retryschedule says when a recipient that was deferred is tried again, and when that ends (RFC 5321, section
// 4.5.4.1): rules, and the pauses of S-47 and S-15.
//
// Everything is a pure function of the times passed in. The package does not wait, and does not know how the queue
// keeps what waits.
package retryschedule
