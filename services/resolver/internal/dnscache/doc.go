// SPDX-License-Identifier: Apache-2.0

// Package dnscache keeps DNS answers for as long as their records allow, and not a moment longer: RFC 2181, section 8;
// RFC 2308, section 5.
//
// It has two faces, both Queriers. Over answers from the cache and asks the layer below for the rest; Keep stands below
// the layer that joins equal questions and stores what is answered, so that a question joined too late still finds the
// answer. Failures are not kept here but in dnsexchange, for each server.
package dnscache
