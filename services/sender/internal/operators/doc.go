// SPDX-License-Identifier: Apache-2.0

// Package operators owns what the owner of a partition does about a record because of operators' changes (queue.md,
// section 6): whether it is attempted, cancelled, set aside, or was copied on by a scan and is to be skipped where it
// lay. The changes themselves are mirrored by kit/changes, copying is for package scan, and when a record that is set
// aside expires or its sender is told for package park.
package operators
