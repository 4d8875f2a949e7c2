// SPDX-License-Identifier: Apache-2.0

// Package admin takes operators' changes (gateway.v1.QueueService and CancelMessage): it checks them, stores them, and
// answers once they are durable. What a change means is in kit/changes; it is carried out by the senders, which see it by
// themselves. A change that is in force already is not stored again: the answer names the first.
package admin
