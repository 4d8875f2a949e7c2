// SPDX-License-Identifier: Apache-2.0

// Package ownership owns which partitions this sender has: it takes the lease of each that rendezvous hashing over the
// live senders gives to it, lets a tenure work as long as that stays so, and gives up what belongs to another (queue.md,
// section 4). What an owner does is for package tenure.
package ownership
