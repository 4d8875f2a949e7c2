// SPDX-License-Identifier: Apache-2.0

// Package join keeps the notifications that package throttle joins, durably, and tells of them in lists at the end of
// their window (D-17).
//
// It owns the stream JOINED and the cursor over what was told. That each joined notification is told exactly once,
// whatever crashes, follows from three things. An outcome is settled only after its joined notifications are stored. The
// lists of a window are made only when all outcomes stored before the window's end are settled, so that nothing is added
// to it later; the same line stored twice, before and after a crash, counts once. And a list is handed in under a key
// made of its lines, so that it is one list when it is made again. It does not decide what is joined, and hands nothing
// in itself.
package join
