// SPDX-License-Identifier: Apache-2.0

// Package crashtable holds the rows of the crash table (queue.md, section 8): a real process ends by kill -9 at the point
// of the row, is started again on the same data, and what became of the mail is counted at the receiving host. The mail
// is one record of five recipients that end delivered, bounced, deferred, split by 452, and ambiguous. In each row the
// caller submits it again with its idempotency key after the crash.
package crashtable
