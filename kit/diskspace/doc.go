// SPDX-License-Identifier: Apache-2.0

// Package diskspace says how full a disk is: the gateway stops accepting in time (G-13), and the sender removes settled
// mail sooner (queue.md, section 3). What follows from it is theirs.
package diskspace
