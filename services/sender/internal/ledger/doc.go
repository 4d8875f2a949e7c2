// SPDX-License-Identifier: Apache-2.0

// Package ledger owns the answer to one question: what did earlier owners of a partition settle among the records
// that a new owner is about to read? It is folded from OUTCOME, RETRY and PARK between taking a partition over and
// reading it, two bits a record, and is used up as the records are read. It knows nothing of streams beyond their
// names, of leases or of the network, and is not safe for concurrent use.
package ledger
