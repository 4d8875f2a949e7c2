// SPDX-License-Identifier: Apache-2.0

package recurrence

import (
	"context"
	"log/slog"
	"sync"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect/fingerprint"
)

const (
	// shareFrom is how often an ordinary message comes to this gateway before it is counted together with the others. With
	// n gateways a count may be short by (n-1) times one less than that.
	shareFrom = 10
	// shareEvery is how old what the others counted may be.
	shareEvery = 2 * time.Second
	// maxOften is how many prints are counted together at once.
	maxOften = 10_000
)

// often is the ordinary prints that are counted together.
type often struct {
	mu     sync.Mutex
	prints map[fingerprint.Print]*share
}

// share is one print's part in the shared count.
type share struct {
	unsent int       // arrivals not in the shared count yet
	others int       // arrivals at other gateways, when last asked
	last   time.Time // of the last arrival
	told   int       // how often it was told
}

// came notes an arrival, the own-th of this gateway, and returns how often it came to all, and whether that is to be told.
func (o *often) came(p fingerprint.Print, now time.Time, own, every int) (times int, tell bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.prints[p]
	if s == nil {
		if len(o.prints) >= maxOften {
			return own, own%every == 0
		}
		if o.prints == nil {
			o.prints = map[fingerprint.Print]*share{}
		}
		s = &share{unsent: own - 1, told: (own - 1) / every} // those before it
		o.prints[p] = s
	}
	s.unsent++
	s.last = now
	times = own + s.others
	tell = times/every > s.told
	s.told = times / every
	return times, tell
}

// pending returns what is to be sent, and drops prints that came no more.
func (o *often) pending(now time.Time) map[fingerprint.Print]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := map[fingerprint.Print]int{}
	for p, s := range o.prints {
		switch {
		case s.unsent > 0:
			list[p] = s.unsent
		case now.Sub(s.last) > Window:
			delete(o.prints, p)
		}
	}
	return list
}

// sent notes that so many arrivals are in the shared count, which now has so many of others.
func (o *often) sent(p fingerprint.Print, n, others int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.prints[p]; s != nil {
		s.unsent -= n
		s.others = others
	}
}

// Run adds what came often to the shared count until ctx ends.
func (c *Counter) Run(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(shareEvery)
	defer tick.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := c.share(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			log.LogAttrs(ctx, slog.LevelWarn, "equal messages are counted by this gateway alone", slog.String("error", err.Error()))
		}
		failed = err != nil
	}
}

// share adds what came since the last time.
func (c *Counter) share(ctx context.Context) error {
	now := c.now()
	for p, n := range c.often.pending(now) {
		total := 0
		put, cancel := context.WithTimeout(ctx, askLimit)
		err := c.change(put, "ordinary."+p.String(), func(r *eventv1.Recurrence) bool {
			total = addSlot(r, slotOf(now), n)
			return true
		})
		cancel()
		if err != nil {
			return err
		}
		c.often.sent(p, n, max(0, total-c.own.add(p, now, 0)))
	}
	return nil
}

// addSlot adds to the count of a slot, drops those that ran out, and returns the sum.
func addSlot(r *eventv1.Recurrence, slot int64, n int) (total int) {
	kept := make([]*eventv1.Slot, 0, slots+1)
	for _, s := range r.GetSlots() {
		if s.GetNumber() > slot-slots {
			kept = append(kept, s)
		}
	}
	at := -1
	for i, s := range kept {
		if s.GetNumber() == slot {
			at = i
		}
	}
	if at < 0 {
		kept, at = append(kept, &eventv1.Slot{Number: slot}), len(kept)
	}
	kept[at].Count += uint32(n)
	r.Slots = kept
	for _, s := range kept {
		total += int(s.GetCount())
	}
	return total
}
