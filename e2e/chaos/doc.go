// SPDX-License-Identifier: Apache-2.0

// Package chaos kills, stops and cuts off Postrider's processes under load, at random moments and at chosen points
// before and after each durable step (kit/crashpoint), and counts what became of the mail.
//
// The counting asks Postrider nothing. A client process writes down each message whose Submit was answered with OK; a
// mail host in a process of its own writes down each delivery before it answers the dot. A message is lost when one of
// its recipients has no delivery in the end; a refused one when its sender has no notification. Who got a message twice
// is compared with the marks of the stored outcomes: without a mark it is an unmarked duplicate, and so is a
// second notification about the same message.
//
//	make chaos ROUNDS=20 SEED=1
//
// runs both shapes: the all-in-one that is killed again and again, and a stand-alone nats-server with gateway, resolver,
// dsn and two senders of which one is killed, stopped or cut off; then one further round of each with the default
// queue.lease_ttl. The same seed makes the same choices. A run that was interrupted goes on where it was, in its state
// folder. `go test` alone runs a few rounds of each.
package chaos
