// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"context"
	"errors"
	"time"

	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

const (
	// pressure is how long reading waits for room before slow destinations have to give some.
	pressure = 200 * time.Millisecond
	// share is the part of the window taken from slow destinations at once.
	share = 4
)

// waitForRoom waits until ok. While there is no room, what slow destinations hold beyond what they can take soon is
// moved on to a RETRY stream, so that one sick destination does not keep the mail of all others out.
func (t *Tenure) waitForRoom(ctx context.Context, ok func() bool) error {
	for {
		err := t.awaitFor(ctx, pressure, ok)
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		t.spill()
	}
}

// spill moves the surplus of slow destinations on. No attempt is counted.
func (t *Tenure) spill() {
	surplus := t.opts.Lanes.TakeSurplus(max(1, t.opts.Limits.Window/share), func(r *Record) bool {
		return r.tenure == t && t.opts.Spillable(r.Mail)
	})
	t.mu.Lock()
	if t.stopping {
		t.mu.Unlock()
		return
	}
	t.moving += len(surplus)
	t.mu.Unlock()
	for _, s := range surplus {
		m := due.Nearest(t.minutes, s.Drain)
		w := due.Wait{Minutes: m, Pause: time.Duration(m) * time.Minute}
		t.move(s.Value, settle.Copy(s.Value.Mail, s.Value.Place, settle.ForSpill, w), m)
	}
}
