// SPDX-License-Identifier: Apache-2.0

// Package park owns what becomes of mail that is set aside: by an operator's hold, by the suspension of its destination,
// or by the sender because it cannot be sent. It stays in PARK, but not beyond its time: it expires, its
// sender is told once of the delay, and when nothing holds it any more it goes on. Where it lies and how it gets
// out of there is for packages bus and scan.
package park
