// SPDX-License-Identifier: Apache-2.0

package due

import "time"

// Wait is a pause and the RETRY stream that carries it.
type Wait struct {
	// Minutes names the stream. A record may be read once they have passed.
	Minutes int
	// Pause is the whole wait from when the record was stored, never shorter than Minutes.
	Pause time.Duration
}

// Plan returns the wait for a record that wants a pause and expires when left has passed. minutes are the streams
// there are, in rising order. A pause that is too long is cut to the largest stream of a minute or more that ends
// before the record expires; ok is false when not even the smallest does, and the record expires now (queue.md,
// section 6).
func Plan(minutes []int, wanted, left time.Duration) (w Wait, ok bool) {
	wanted = max(wanted, 0)
	if left <= 0 {
		return Wait{}, false
	}
	if wanted <= left {
		return Wait{Minutes: largest(minutes, wanted), Pause: wanted}, true
	}
	m := largest(minutes, left)
	if m == 0 {
		return Wait{}, false
	}
	return Wait{Minutes: m, Pause: time.Duration(m) * time.Minute}, true
}

// Rest returns how a wait goes on of which rest is left: with a further stream when a minute or more is left,
// otherwise (chained is false) in memory.
func Rest(minutes []int, rest time.Duration) (w Wait, chained bool) {
	if m := largest(minutes, rest); m > 0 {
		return Wait{Minutes: m, Pause: rest}, true
	}
	return Wait{}, false
}

// Nearest returns the stream of a minute or more that is nearest to a duration.
func Nearest(minutes []int, d time.Duration) int {
	best := 0
	for _, m := range minutes {
		if m > 0 && (best == 0 || (time.Duration(m)*time.Minute-d).Abs() < (time.Duration(best)*time.Minute-d).Abs()) {
			best = m
		}
	}
	return best
}

// largest returns the largest of minutes that is not longer than d, 0 when there is none.
func largest(minutes []int, d time.Duration) int {
	best := 0
	for _, m := range minutes {
		if time.Duration(m)*time.Minute <= d {
			best = m
		}
	}
	return best
}
