// SPDX-License-Identifier: Apache-2.0

// Package idempotency makes a submission that is repeated under the same key give the first answer again (G-12;
// queue.md, section 3).
//
// In the first two minutes the queue's server knows the key by itself, over restarts and for all gateways; later, up to
// 24 hours, the status view does. Either way the digest over envelope and submitted content decides between the first
// answer and KEY_REUSED. The package stores nothing.
package idempotency
