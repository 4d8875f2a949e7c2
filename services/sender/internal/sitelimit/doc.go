// SPDX-License-Identifier: Apache-2.0

// Package sitelimit says how many connections to a site may be open, and how fast mail may go there (S-74).
//
// A site's window begins at two connections, grows with messages that are taken while all of it is in use, and is halved
// when a host cannot be reached or says 421 (RFC 5321, section 3.8). It never exceeds this sender's share of what is
// configured. Rates are those of sender.destinations, for a whole site and for each tenant at it, shared by the senders in
// the same way.
//
// It opens no connections (package pool asks it before one is opened) and starts no attempts (package lanes asks it
// before one is started).
package sitelimit
