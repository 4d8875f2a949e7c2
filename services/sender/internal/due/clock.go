// SPDX-License-Identifier: Apache-2.0

package due

import (
	"context"
	"sync"
	"time"
)

// Clock is the server's clock as far as it is known here: asked for now and then, and counted on in between.
type Clock struct {
	ask    func(context.Context) (time.Time, error)
	maxAge time.Duration

	mu     sync.Mutex
	server time.Time
	asked  time.Time // monotonic
}

// NewClock returns a clock that asks the server for its time, again when the last answer is older than maxAge.
func NewClock(ask func(context.Context) (time.Time, error), maxAge time.Duration) *Clock {
	return &Clock{ask: ask, maxAge: maxAge}
}

// Now returns the server's time. When the server cannot be asked, an earlier answer is counted on; the error is only
// given when there was none yet.
func (c *Clock) Now(ctx context.Context) (time.Time, error) {
	if at, fresh := c.known(); fresh {
		return at, nil
	}
	before := time.Now()
	server, err := c.ask(ctx)
	if err != nil {
		if at, _ := c.known(); !at.IsZero() {
			return at, nil
		}
		return time.Time{}, err
	}
	c.mu.Lock()
	c.server, c.asked = server.Round(0), before
	c.mu.Unlock()
	at, _ := c.known()
	return at, nil
}

// Estimate returns the server's time without asking for it. Before the first answer it is this process's own.
func (c *Clock) Estimate() time.Time {
	if at, _ := c.known(); !at.IsZero() {
		return at
	}
	return time.Now().Round(0)
}

func (c *Clock) known() (at time.Time, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked.IsZero() {
		return time.Time{}, false
	}
	age := time.Since(c.asked)
	return c.server.Add(age), age < c.maxAge
}
