// SPDX-License-Identifier: Apache-2.0

// Command bench measures Postrider as its users run it, all in one process with an embedded NATS that flushes every
// write, beside Postfix and beside the raw ceiling (Debian's smtp-source straight to smtp-sink), in one go on the same
// machine. `make bench` runs it; docs/performance.md says how to read what it prints.
//
// Each run lives in mount, network and process namespaces of its own: nothing can reach another machine, port 25 is
// free, and whatever was started ends with the run. A DNS server and smtp-sink stand for the world; what was delivered
// is counted by smtp-sink, never by the system under test. CPU time and memory are those of the system's control group,
// so neither the one who submits nor the sink counts.
//
// It needs root, Linux with control groups and overlayfs, and apt-get: Postfix, smtp-source and smtp-sink are Debian's,
// unpacked and installed into a private overlay below the work folder.
package main
