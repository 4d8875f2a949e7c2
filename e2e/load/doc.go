// SPDX-License-Identifier: Apache-2.0

// Package load measures what the queue promises under load, on real processes over loopback: that neither a dead domain,
// nor ten sick ones, nor a newsletter delays the mail of others, that a million retries come due in time and in
// flat memory, and that idle partitions do not hold the log back. Its tests have the build tag load and are run by
// `make load`, or one of them by `make load CASE=dead-domain`; each takes minutes and wants the machine for itself.
package load
