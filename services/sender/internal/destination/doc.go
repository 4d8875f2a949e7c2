// SPDX-License-Identifier: Apache-2.0

// Package destination holds what an operator says about single destinations: the section sender.destinations of the
// configuration, and which of its entries is for a domain.
//
// It enforces nothing: sizes and TLS are the attempt's (package attempt), connections and rates those of the lanes.
package destination
