// SPDX-License-Identifier: Apache-2.0

// Package serverhealth remembers which DNS servers fail, over which transport, and since when, so that a dead
// server costs a few lookups and not every one.
//
// It owns the memory and the rule when to skip and when to probe. It asks nothing itself: dnsexchange and the periodic
// check tell it what they saw. Changes are told once, when a server or transport begins to fail and when it works again.
package serverhealth
