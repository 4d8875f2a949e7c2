// SPDX-License-Identifier: Apache-2.0

// Package loopdetect finds mail that goes in circles before it is taken into the queue: too many Received fields
// (L-01; RFC 5321, section 6.3), a hop number over the limit, and our own trace header come back for the same recipient
// (L-03, L-04).
//
// It owns the Received and Postrider-Trace fields each message gets, the key they are sealed with, and the decisions,
// each with the rule, the values compared and the limit (L-09). What these rules judge by travels with the message, so
// that two gateways that share the key decide alike. A loop of messages that are made anew each time carries nothing of
// ours: equal responses are counted by all gateways together (L-06, L-07, L-10; packages fingerprint and recurrence).
// Own hosts among the MX are the resolver's and the sender's to find (L-05).
package loopdetect
