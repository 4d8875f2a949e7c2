// SPDX-License-Identifier: Apache-2.0

// Package pool keeps SMTP sessions for the next message (RFC 5321, section 4.1.1.5) and gives out the right to open one.
//
// Sessions are alike when they lead to the same address from the same source under the same TLS policy with the same
// credentials: only then one may be used for another message (S-71). An attempt gets a kept session, else leave to open
// one while the site's window has room (S-74), else it waits for whichever comes first; one that waits may be taken
// along by a session that is about to write its final dot (RFC 2920, section 3.1; S-48). Sessions that nobody uses are
// ended after a few seconds, and at once when the host closes them.
//
// How wide a site's window is, is package sitelimit's; what is said over a session, package smtpclient's; what a failure
// means, package mxfailover's.
package pool
