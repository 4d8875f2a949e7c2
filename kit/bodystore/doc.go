// SPDX-License-Identifier: Apache-2.0

// Package bodystore owns message contents that do not lie in a segment: those over 64 KiB, and those shared by so
// many records that a segment would grow too large. There are two stores behind one interface: files that are
// fsynced before they are referred to (Files, for the embedded server; sent with sendfile), and chunks in the
// stream BODIES (Chunks, for a cluster).
//
// The package does not know records. Whoever writes a record stores the content first; whoever settles the last
// record deletes it; what is left over by a crash in between is found by List.
package bodystore
