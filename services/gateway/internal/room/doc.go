// SPDX-License-Identifier: Apache-2.0

// Package room says whether the queue takes mail now, before any content is read (G-13; queue.md, section 3): how much
// waits in the streams and the body store, how full the disk is, and whether the queue answers at all.
//
// It looks once a second and counts in between what this gateway has accepted. It limits acceptance only; what is
// accepted is always settled.
package room
