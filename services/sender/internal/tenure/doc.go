// SPDX-License-Identifier: Apache-2.0

// Package tenure owns a partition from taking it over to giving it up (queue.md, sections 4 and 5): it fences the former
// owner off, folds the ledger, reads MAIL and the RETRY streams, hands records to the lanes, and settles what comes
// back: one OUTCOME record, then one RETRY record if recipients remain. Its OUTCOME segments carry the checkpoint.
//
// What becomes of a record is decided in package intake, what is written in package settle; here it is done. Who may
// own a partition is for package ownership, what an attempt is for package attempt.
package tenure
