// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/services/gateway/internal/idempotency"
)

// TestG12_HowFarBackKeysReach: 24 hours while the view has seen every outcome; not further than the outcomes that were left
// when it was folded anew, or had not come to those that were trimmed; and that stays known over a restart.
func TestG12_HowFarBackKeysReach(t *testing.T) {
	q := newQueue(t)
	path := filepath.Join(t.TempDir(), "view.db")
	now := time.Now()
	o := q.options(path)
	o.Now = func() time.Time { return now }
	reach := func(what string, o Options, least, most time.Duration) {
		t.Helper()
		v := q.open(o)
		v.await(t)
		if got := v.Reach(); got < least || got > most {
			t.Errorf("%s: %s, want %s to %s", what, got, least, most)
		}
		v.stop()
	}
	for n := range 3 {
		q.outcomes(outcome(uint32(n+1), settledAs(0, delivered)))
	}
	reach("all outcomes", o, idempotency.Window, idempotency.Window)
	if err := bus.Purge(t.Context(), q.js, bus.StreamOutcome, 3); err != nil {
		t.Fatal(err)
	}
	reach("trimmed after they were folded", o, idempotency.Window, idempotency.Window)
	anew := o
	anew.Rebuild = true
	now = time.Now().Add(time.Hour)
	reach("folded anew an hour later", anew, 59*time.Minute, 61*time.Minute)
	now = now.Add(time.Hour)
	reach("opened again", o, 119*time.Minute, 121*time.Minute)
	now = now.Add(30 * time.Hour)
	reach("much later", o, idempotency.Window, idempotency.Window)
	q.outcomes(outcome(4, settledAs(0, delivered)))
	q.outcomes(outcome(5, settledAs(0, delivered)))
	if err := bus.Purge(t.Context(), q.js, bus.StreamOutcome, 6); err != nil {
		t.Fatal(err)
	}
	v, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got := v.Reach(); got != 0 {
		t.Errorf("all outcomes were trimmed unseen: %s", got)
	}
}
