// SPDX-License-Identifier: Apache-2.0

// Package tlspolicy says what the TLS of each host of a route must satisfy: DANE (RFC 7672) where the host has it, else
// MTA-STS (RFC 8461) where the recipient domain has it, else opportunistic TLS.
//
// It owns the choice between the two and how it is told; how each is looked up is in dane and mtasts. A policy is
// claimed only when it was found and read in full.
package tlspolicy
