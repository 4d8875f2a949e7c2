// SPDX-License-Identifier: Apache-2.0

// Package throttle keeps notifications from becoming a storm (D-17; RFC 3834, section 2): it counts what is due in each
// window of time by envelope sender, by the sender's domain, and by sender, recipient and status, and tells what is
// beyond a limit. Nothing beyond a limit is lost: it is told later in one list (package join).
//
// It owns the counting and nothing else. What it says is a function of the outcomes in the order in which they were
// stored and of the times the store gave them. So the same outcomes counted again after a crash give the same verdicts,
// and counting a part of them never gives a verdict that joins more.
package throttle
