// SPDX-License-Identifier: Apache-2.0

// Package notify takes one outcome from decision to accepted notification: decide (package policy), compose (package
// report), hand in (package submit), with a span, a metric and an event line for each step.
//
// It owns the order of the steps and what is recorded of them. It holds no state: an outcome that is handled again after
// a crash gives the same keys and the same bytes. It does not read the queue (package follow).
package notify
