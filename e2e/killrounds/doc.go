// SPDX-License-Identifier: Apache-2.0

// Package killrounds kills the all-in-one with SIGKILL between the accepted Submit and the delivery, again and again
// on the same data, and counts: what was accepted is counted by this process from the answers it got, what was
// delivered at the receiving host by Message-ID. Postrider is asked for neither.
//
// make kill-rounds ROUNDS=50 SEED=1 runs fifty rounds; `go test` alone runs three.
package killrounds
