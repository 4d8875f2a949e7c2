// SPDX-License-Identifier: Apache-2.0

package lanes

import "time"

const (
	// sample is how long attempts are counted before the pace is reckoned anew, earliest how long before there is a
	// first estimate.
	sample   = time.Second
	earliest = 100 * time.Millisecond
	// recent is the weight of the newest sample.
	recent = 0.5
)

// pace is how fast a site takes mail.
type pace struct {
	since     time.Time // of the sample under way
	done      int       // in it
	perSecond float64   // of the samples before; 0 when there is none
}

func (p *pace) start(now time.Time) {
	if p.since.IsZero() {
		p.since = now
	}
}

func (p *pace) finished(now time.Time) {
	p.done++
	passed := now.Sub(p.since)
	if passed < sample {
		return
	}
	rate := float64(p.done) / passed.Seconds()
	if p.perSecond > 0 {
		rate = recent*rate + (1-recent)*p.perSecond
	}
	p.perSecond, p.since, p.done = rate, now, 0
}

// drain estimates how long it takes until so many are done. When nothing was done for a while the estimate grows with
// that while, as if the next were just about to be done.
func (p *pace) drain(waiting int, now time.Time) time.Duration {
	passed := max(now.Sub(p.since), earliest)
	rate := float64(p.done+1) / passed.Seconds()
	if p.perSecond > 0 && (passed <= sample || p.perSecond < rate) {
		rate = p.perSecond
	}
	return time.Duration(float64(waiting) / rate * float64(time.Second))
}

// expected is the estimate within the bounds in which it is worth something.
func (p *pace) expected(drain time.Duration) time.Duration {
	if p.perSecond == 0 && p.done == 0 {
		return min(drain, unknownDrain)
	}
	return min(drain, longestDrain)
}
