// SPDX-License-Identifier: Apache-2.0

// Package config reads a process's YAML file over the defaults, strictly, and prints the reference from the same
// structs.
//
// A configuration is a struct with the tags `yaml:"key"` and `help:"sentence"`; its value before loading holds the
// defaults. Unknown keys, keys given twice, aliases and further documents are errors that name key and line. The package
// also holds the sections every process shares: Node, NATS, Queue, Telemetry. Checking values is the Validate method's
// of each section, which names its keys. Secrets never stand in a file, only names of files.
package config
