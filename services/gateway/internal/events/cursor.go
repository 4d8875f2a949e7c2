// SPDX-License-Identifier: Apache-2.0

// Package events streams what happens to messages, straight from the queue's streams (gateway.v1.WatchEvents): accepted
// from MAIL, moved from the RETRY streams and PARK, attempted and settled from OUTCOME.
//
// A cursor is a position in each of these streams, so that it is good at any gateway of the queue and over restarts. It
// is too old once OUTCOME was trimmed behind it. MAIL and the RETRY streams are purged minutes after their mail is
// settled: who goes on from an older cursor learns from OUTCOME what became of it, and misses only that it was accepted
// or waited. Events of one stream come in order; between streams there is none.
package events

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/postrider/postrider/kit/bus"
)

// cursor is a position in each stream.
type cursor struct {
	last   map[string]uint64 // last sequence of which everything was told
	partly map[string]begun  // segments behind it of which the first records were told
}

type begun struct {
	sequence uint64
	told     int // records
}

func newCursor() cursor {
	return cursor{last: map[string]uint64{}, partly: map[string]begun{}}
}

// cursorVersion stands first in a cursor.
const cursorVersion = 1

// maxCursor bounds what is decoded, in bytes of text.
const maxCursor = 1024

// partly stands before a segment that was told in part.
const partly = 3

var errCursor = errors.New("not a cursor of ours")

// streamNumber gives each stream a small number that never changes: MAIL, PARK and OUTCOME, then the RETRY streams by
// their minutes.
func streamNumber(stream string) uint64 {
	switch stream {
	case bus.StreamMail:
		return 0
	case bus.StreamPark:
		return 1
	case bus.StreamOutcome:
		return 2
	}
	minutes, _ := bus.RetryStreamMinutes(stream)
	return uint64(minutes) + 16
}

// streamOf is the reverse of streamNumber, "" for a number that stands for none.
func streamOf(number uint64) string {
	switch {
	case number == 0:
		return bus.StreamMail
	case number == 1:
		return bus.StreamPark
	case number == 2:
		return bus.StreamOutcome
	case number < 16 || number > 1<<30:
		return ""
	}
	return bus.RetryStream(int(number - 16))
}

// String returns the cursor as callers keep it.
func (c cursor) String() string {
	raw := []byte{cursorVersion}
	for _, stream := range slices.Sorted(maps.Keys(c.last)) {
		raw = appendNumbers(raw, streamNumber(stream), c.last[stream])
	}
	for _, stream := range slices.Sorted(maps.Keys(c.partly)) {
		b := c.partly[stream]
		raw = appendNumbers(raw, partly, streamNumber(stream), b.sequence, uint64(b.told))
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func appendNumbers(raw []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		raw = binary.AppendUvarint(raw, n)
	}
	return raw
}

// parseCursor reads what String gave.
func parseCursor(text string) (cursor, error) {
	if len(text) > maxCursor {
		return cursor{}, errCursor
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 || raw[0] != cursorVersion {
		return cursor{}, errCursor
	}
	c := newCursor()
	for r := (numbers{raw: raw[1:]}); len(r.raw) > 0 || r.bad; {
		number := r.next()
		if number == partly {
			stream := streamOf(r.next())
			c.partly[stream] = begun{sequence: r.next(), told: int(min(r.next(), bus.MaxPayload))}
			r.bad = r.bad || stream == ""
		} else {
			stream := streamOf(number)
			c.last[stream] = r.next()
			r.bad = r.bad || stream == ""
		}
		if r.bad {
			return cursor{}, errCursor
		}
	}
	return c, nil
}

// numbers reads numbers one after the other.
type numbers struct {
	raw []byte
	bad bool
}

func (r *numbers) next() uint64 {
	n, size := binary.Uvarint(r.raw)
	if size <= 0 {
		r.raw, r.bad = nil, true
		return 0
	}
	r.raw = r.raw[size:]
	return n
}
