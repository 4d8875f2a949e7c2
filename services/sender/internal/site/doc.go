// SPDX-License-Identifier: Apache-2.0

// Package site owns which site a domain's mail goes to, as far as attempts have found out. A site is a set of mail
// hosts: what one of them can take, and whether they are there, is the same for all domains they serve (RFC 5321,
// section 5.1; S-74, Q-12, Q-15).
//
// A site's name is the one the resolver gives with a route: the names of the MX hosts in lower-case A-label form,
// sorted, joined by commas, so that it does not depend on order and preference; a long one ends in a digest. A domain
// whose route nobody has asked for yet is a site of its own, and so is one that the configuration treats apart. Nothing
// here waits for DNS.
package site
