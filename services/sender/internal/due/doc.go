// SPDX-License-Identifier: Apache-2.0

// Package due owns how long mail waits and when its wait is over: which RETRY stream carries a wait, what is left of
// one when its stream's minutes have passed, and when the segments of a RETRY stream come due.
//
// A wait is counted from the moment the server stored it, by the server's clock, and once its end is known it is kept
// on this process's monotonic clock: setting a clock does not move it. The sender's wall clock is never asked.
package due
