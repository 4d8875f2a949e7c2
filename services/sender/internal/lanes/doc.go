// SPDX-License-Identifier: Apache-2.0

// Package lanes owns the order in which waiting mail is attempted and how many attempts run at once (Q-12, S-74): one
// lane for each site, tenant and priority; deficit round robin between sites, then between the tenants of one, and
// within a tenant urgent before normal before bulk, with a tenth for each that waits. It bounds the attempts that run to
// one site and in all, and knows which sites are down: those get one probe now and then, and nothing else.
//
// Nothing sleeps here: a record waits as an entry in a list, and is handed out when its site has room. What waits too
// long is named to whoever asks, and taken elsewhere. What a record is, where it lies and what becomes of it, the package
// does not know; which site a domain belongs to is for package site, how many connections one takes for whoever sets the
// limits.
package lanes
