// SPDX-License-Identifier: Apache-2.0

// Package dnsquery is the one interface of the resolver's DNS layers: a Question goes in, an Answer or a typed Failure
// comes out. dnscache stands over inflight, inflight over dnsexchange; each is a Querier and can be tested alone.
//
// It owns the words the layers share and nothing that acts. Names are in lower-case A-label form without the trailing
// dot, in the presentation format of RFC 1035, section 5.1; the root is "".
package dnsquery
