// SPDX-License-Identifier: Apache-2.0

// Package lanes owns the order in which waiting mail is attempted and how many attempts run at once (Q-12, S-74): one
// lane for each destination, tenant and priority; deficit round robin between destinations, then between the tenants
// of one, and within a tenant urgent before normal before bulk, with a tenth for each that waits. It bounds the attempts
// that run to one destination and in all.
//
// Nothing sleeps here: a record waits as an entry in a list, and is handed out when its destination has room. What a
// record is, where it lies and what becomes of it, the package does not know.
package lanes
