// SPDX-License-Identifier: Apache-2.0

// Package statusview is this gateway's own picture of what became of messages: it folds MAIL, the RETRY streams, PARK
// and OUTCOME into a local SQLite file and answers questions from it (queue.md, section 7).
//
// It owns the file, the fold and the forms in which messages are shown. It decides nothing: it can be deleted and is
// folded anew from what the streams still hold, it never holds back a purge, and acceptance never waits for it. What it
// does not know yet it says so: it states its lag, and idempotency keys are only answered while that is small.
package statusview
