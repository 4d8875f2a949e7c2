// SPDX-License-Identifier: Apache-2.0

// Package gateway is the service that takes mail in: gateway.v1.MailService over gRPC. It checks envelope and content,
// looks for loops, and answers once the message is durable in the queue; it also tells what became of messages.
//
// It delivers nothing and decides no outcome: that is the sender's. Its parts are in internal: submit puts the steps of
// a submission in order, mailservice is the wire, statusview the answers. behaviour.md, sections 5 and 6, says what it
// must do.
package gateway
