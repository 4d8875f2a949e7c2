// SPDX-License-Identifier: Apache-2.0

// Package smtpreply holds the words in which a failed delivery is told: the stage of the session, the reply of the
// remote host, the enhanced status code (RFC 3463) and the machine-readable reason.
//
// It owns the one failure type of the suite, Error, which stays the same inside a service, over gRPC and in the
// queue (event.v1.Failure), the parsing of enhanced codes (RFC 2034, section 4), the status recorded for a reply
// that carries none, and the cleaning of remote text. It does not read from connections (that is the SMTP client's)
// and does not decide what a failure leads to (that is the sender's verdict).
package smtpreply
