// SPDX-License-Identifier: Apache-2.0

// Package probe goes the way mail to a domain would go, without mail: it resolves, connects, says EHLO, STARTTLS, AUTH
// where it is configured, and, when asked, MAIL and RCPT (RFC 5321, section 3.3). It never says DATA.
//
// It tries every address of the route within the limits of an attempt, also behind one that works, and tells each step
// as it happens. What a step means is decided where attempts decide it: packages attempt, mxfailover, smtpclient and
// verdict. It owns no state but the number of probes under way.
package probe
