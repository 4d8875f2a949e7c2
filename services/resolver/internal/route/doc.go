// SPDX-License-Identifier: Apache-2.0

// Package route puts the way to a domain together: which hosts, with which addresses, in which order, under which TLS
// policy; or the typed verdict why there is none.
//
// It owns the order, the removal of our own hosts and of special addresses, the site's name, and the cache of finished
// routes, which live no longer than the first of their DNS answers. Equal preferences are shuffled anew for each call,
// also from the cache. The questions are mxlookup's, the policies tlspolicy's.
package route
