// SPDX-License-Identifier: Apache-2.0

// Package sasl proves who we are to a smarthost: SCRAM-SHA-256 (RFC 5802, RFC 7677), PLAIN (RFC 4616) and LOGIN, in this
// order of preference (RFC 4954, section 4).
//
// It owns the choice of the mechanism and what is said in it, before and after base64. It does not know SMTP; when
// secrets may be said, and how often a host may ask, is decided in package smtpclient.
package sasl
