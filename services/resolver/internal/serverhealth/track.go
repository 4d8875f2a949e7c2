// SPDX-License-Identifier: Apache-2.0

package serverhealth

import (
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// Numbers of R-35.
const (
	// After is the number of failures running after which a server or transport is skipped.
	After = 3
	// Pause is how long it is skipped until one probe is sent.
	Pause = 30 * time.Second
)

// Verdict is what was seen of a server or a transport.
type Verdict int8

// The verdicts.
const (
	// Unknown is nothing that tells: not used, given up early, or a fault of the question.
	Unknown Verdict = iota
	// Worked is an answer.
	Worked
	// Failed is none.
	Failed
)

// track is the memory of one server, or of one transport of it.
type track struct {
	fails     int
	since     time.Time // of the first failure running
	skipUntil time.Time // zero while it is used
	announced time.Time // since, when its failing was told; zero while it was not
	why       dnsquery.Result
}

func (t *track) failing() bool { return t.fails >= After }

func (t *track) standing() Standing {
	if !t.failing() {
		return Standing{}
	}
	return Standing{Since: t.since, Why: t.why}
}

// observe takes one verdict.
func (t *track) observe(v Verdict, why dnsquery.Result, now time.Time) {
	switch v {
	case Worked:
		t.fails, t.since, t.skipUntil = 0, time.Time{}, time.Time{}
	case Failed:
		if t.fails == 0 {
			t.since = now
		}
		t.fails++
		t.why = why
		if t.failing() {
			t.skipUntil = now.Add(Pause)
		}
	case Unknown:
	}
}

// skipped reports that it must not be used now.
func (t *track) skipped() bool { return !t.skipUntil.IsZero() }

// due reports that a probe is due, once in every Pause.
func (t *track) due(now time.Time) bool {
	if !t.skipped() || now.Before(t.skipUntil) {
		return false
	}
	t.skipUntil = now.Add(Pause)
	return true
}
