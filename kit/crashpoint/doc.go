// SPDX-License-Identifier: Apache-2.0

// Package crashpoint names the points of the code, before and after each durable step, at which the tests kill a real
// process (queue.md, section 8). In a program as it is delivered At is empty and costs nothing. In one built with the
// tag chaos the variable POSTRIDER_CRASH_AT says where the process ends as by kill -9:
//
//	POSTRIDER_CRASH_AT=sender.outcome.after     the first time this point is reached
//	POSTRIDER_CRASH_AT=sender.outcome.after:20  the twentieth time
//
// The package does not know the steps; All lists their names for those who go through them.
package crashpoint
