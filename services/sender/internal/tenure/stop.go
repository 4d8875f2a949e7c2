// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"context"
	"fmt"
	"time"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
)

// cutOff is how long attempts that were given up are waited for: those before their final dot end at once.
const cutOff = 5 * time.Second

// Stop gives the partition up: nothing more is read or started, attempts that run may end within grace and are then
// given up, what came back is settled, and a last checkpoint says whether anything was left in flight. It takes as long
// as ctx at most. After Stop nothing of the tenure runs, but attempts past their final dot whose host does not answer;
// what they report is dropped. clean reports whether the next owner has nothing to mark.
func (t *Tenure) Stop(ctx context.Context, grace time.Duration) (clean bool) {
	select {
	case <-t.right().Lost():
		t.fail(errLeaseLost)
	default:
	}
	t.stopReading()
	t.dropWaiting()
	idle := func() bool { return t.running == 0 && t.moving == 0 || t.failure != nil }
	if err := t.awaitFor(ctx, grace, idle); err != nil {
		t.abort()
		_ = t.awaitFor(ctx, cutOff, func() bool { return t.running == 0 || t.failure != nil })
		_ = t.await(ctx, idle)
	}
	clean = t.lastCheckpoint(ctx)
	t.fail(errStopped)
	t.closeAppenders(ctx)
	t.work.Wait()
	return clean
}

// dropWaiting takes back everything that is not being attempted: the log has it.
func (t *Tenure) dropWaiting() {
	t.mu.Lock()
	t.stopping = true
	for _, timer := range t.timers {
		timer.Stop()
	}
	if t.asideDue != nil {
		t.asideDue.Stop()
	}
	t.timers, t.aside = nil, nil
	t.mu.Unlock()
	t.opts.Lanes.Remove(func(r *Record) bool { return r.tenure == t })
}

func (t *Tenure) awaitFor(ctx context.Context, d time.Duration, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return t.await(ctx, ok)
}

// lastCheckpoint stores the final checkpoint. It is clean when no attempt can have come to anything that is not stored.
func (t *Tenure) lastCheckpoint(ctx context.Context) (clean bool) {
	t.mu.Lock()
	quiet := t.running == 0 && t.moving == 0 && t.failure == nil
	t.mu.Unlock()
	if !quiet || !t.right().Confirmed() {
		return false
	}
	t.mu.Lock()
	t.drained = true
	t.mu.Unlock()
	crashpoint.At("sender.last.before")
	if _, err := t.outcomes[bus.Quiet].Append(ctx, nil); err != nil {
		t.fail(fmt.Errorf("last checkpoint: %w", err))
		return false
	}
	crashpoint.At("sender.last.after")
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.latest.GetClean()
}

func (t *Tenure) closeAppenders(ctx context.Context) {
	if t.Err() != nil {
		// Nothing is to be stored any more: the next owner does what is left.
		ended, cancel := context.WithCancel(ctx)
		cancel()
		ctx = ended
	}
	for _, a := range t.outcomes {
		_ = a.Close(ctx)
	}
	for _, a := range t.retries {
		_ = a.Close(ctx)
	}
	if t.parks != nil {
		_ = t.parks.Close(ctx)
	}
}
