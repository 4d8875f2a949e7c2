// SPDX-License-Identifier: Apache-2.0

// Package explain lists the decisions made for a message, each with its rule in behaviour.md, the values compared, and
// a sentence for a mail admin (gateway.v1.ExplainMessage; L-09): the loop rules at acceptance, each attempt and each
// host it tried and why that was left, and where each recipient stands.
//
// It owns the words and which rule stands behind a reason or reply. It is a pure function of what the status view knows,
// which comes from the queue's records alone, so an explanation is the same after every restart.
package explain
