// SPDX-License-Identifier: Apache-2.0

// Package submit is the way of every message into the queue, whoever brings it: envelope, room, header, loop rules,
// content, key, append. There is one set of rules and one order, and a message is either durable or refused with an
// *rpc.Error.
//
// The steps themselves are in the packages envelope, content, loopdetect, idempotency and enqueue; this one only puts
// them in order, and writes the spans and the event lines.
package submit
