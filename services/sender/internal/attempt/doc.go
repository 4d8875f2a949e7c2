// SPDX-License-Identifier: Apache-2.0

// Package attempt makes one delivery attempt: one record of the queue, one route, one walk over its hosts, one outcome.
//
// It owns the translation between the queue's records and the parts that do the work: the resolver's route, package
// mxfailover that walks it, package retryschedule that says when to come back. It decides the state of each recipient
// and nothing else does. It keeps nothing between two attempts, appends nothing to the queue and logs nothing.
package attempt
