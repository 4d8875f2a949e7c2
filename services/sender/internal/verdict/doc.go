// SPDX-License-Identifier: Apache-2.0

// Package verdict says what a failure leads to: the next host, a later attempt, or a bounce. It holds the table of
// behaviour.md, section 2.6 (RFC 5321, sections 4.2.1, 4.2.5 and 5.1) as pure functions of what a session told.
//
// It does not walk hosts (package mxfailover does) and knows no schedule (package retryschedule does).
package verdict
