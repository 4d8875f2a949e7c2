// SPDX-License-Identifier: Apache-2.0

package crashpoint

// All returns the names of the points, in the order of a mail's way.
func All() []string {
	return []string{
		"gateway.accept.before", "gateway.accept.after",
		"sender.takeover.before", "sender.takeover.fenced", "sender.takeover.after",
		"sender.outcome.before", "sender.outcome.after", "sender.retry.after",
		"sender.move.before", "sender.move.after", "sender.carry.before", "sender.carry.after",
		"sender.park.before", "sender.park.after",
		"sender.scan.before", "sender.scan.copied", "sender.scan.saved",
		"sender.unpark.before", "sender.unpark.copied", "sender.unpark.deleted",
		"sender.checkpoint.before", "sender.checkpoint.after",
		"sender.last.before", "sender.last.after",
		"sender.purge.before", "sender.purge.after",
		"dsn.submit.before", "dsn.submit.after",
		"dsn.join.before", "dsn.join.after",
		"dsn.list.before", "dsn.list.after",
		"dsn.told.before", "dsn.told.after",
		"dsn.cursor.before", "dsn.cursor.after",
	}
}
