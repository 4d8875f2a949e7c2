// SPDX-License-Identifier: Apache-2.0

// Package envelope checks what a submitter says about a message outside its content: sender, recipients, DSN
// parameters, tenant, tag, times and keys (G-01 to G-05, G-17, D-04; RFC 5321, sections 4.1.2 and 4.5.3.1; RFC 3461,
// section 4).
//
// Nothing is cleaned silently: what breaks a rule is refused, and every fault of a request is named with its field. The
// package makes no queue records and does not look at the content.
package envelope
