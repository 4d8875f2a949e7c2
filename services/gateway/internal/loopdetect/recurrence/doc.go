// SPDX-License-Identifier: Apache-2.0

// Package recurrence counts how often equal messages came within an hour (L-06, L-07), together with the other gateways
// of the queue (L-10).
//
// Responses are counted one by one in a store that all gateways share, by compare and set, so that two gateways never
// take one more than one would. Ordinary messages are counted in memory, without any question to the store; what comes
// often is added to the shared count in the background. With the store away this gateway's own count holds.
//
// The memory is bounded: a million prints, the oldest dropped first. The package knows prints, not messages, and does
// not decide what a count means.
package recurrence
