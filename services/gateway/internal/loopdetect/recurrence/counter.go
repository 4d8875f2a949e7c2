// SPDX-License-Identifier: Apache-2.0

package recurrence

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect/fingerprint"
)

const (
	// askLimit is how long the shared store may take for one response.
	askLimit = time.Second
	// stripes is how many prints are counted in the store at once.
	stripes = 64
)

// Store is where gateways count together (kit/bus.SharedKeys). What was not written for the window is gone.
type Store interface {
	// Get returns a value and the revision Put states.
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Put writes a value if the revision is still that one.
	Put(ctx context.Context, key string, value []byte, revision uint64) (stored bool, err error)
}

// Counter counts. It is safe for concurrent use.
type Counter struct {
	store Store
	limit int
	now   func() time.Time

	own     *table // of this gateway alone
	stripes [stripes]sync.Mutex
	known   looping
	often   often
}

// New returns a Counter. limit is how many equal responses are no loop: of a print that came more often than that, not
// every arrival need be written.
func New(store Store, limit int, now func() time.Time) *Counter {
	return &Counter{store: store, limit: limit, now: now, own: newTable(maxPrints)}
}

// Count is how often a print came within the window, this time included.
type Count struct {
	Times int
	// Unshared says that only this gateway's own arrivals are in it, and why.
	Unshared error
}

// Response counts the arrival of a response. More than the limit and one is not told.
func (c *Counter) Response(ctx context.Context, p fingerprint.Print, messageID string) Count {
	now := c.now()
	own := c.own.add(p, now, 1)
	if c.known.still(p, now) {
		return Count{Times: c.limit + 1}
	}
	stripe := &c.stripes[p[len(p)-1]%stripes]
	stripe.Lock() // a storm of one print asks the store one after the other, not all against each other
	defer stripe.Unlock()
	if c.known.still(p, now) {
		return Count{Times: c.limit + 1}
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	arrivals, err := c.arrive(ctx, p, &eventv1.Arrival{UnixMillis: now.UnixMilli(), MessageId: messageID})
	if err != nil {
		return Count{Times: own, Unshared: err}
	}
	if len(arrivals) > c.limit {
		c.known.until(p, now, time.UnixMilli(arrivals[len(arrivals)-c.limit].GetUnixMillis()).Add(Window))
	} else {
		c.known.over(p)
	}
	return Count{Times: len(arrivals)}
}

// Forget takes an arrival back: the message was not taken for another reason, and may come again.
func (c *Counter) Forget(ctx context.Context, p fingerprint.Print, messageID string) {
	c.own.add(p, c.now(), -1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	_ = c.change(ctx, responseKey(p), func(r *eventv1.Recurrence) bool { // with the store away it counts once too often
		before := len(r.GetArrivals())
		r.Arrivals = without(r.GetArrivals(), messageID)
		return len(r.GetArrivals()) < before
	})
}

// Ordinary counts the arrival of an ordinary message, without asking anybody, and returns how often its equals came
// within the window. tell is true once for each so many as every.
func (c *Counter) Ordinary(p fingerprint.Print, every int) (times int, tell bool) {
	now := c.now()
	own := c.own.add(p, now, 1)
	if own < shareFrom {
		return own, own%every == 0
	}
	return c.often.came(p, now, own, every)
}

func responseKey(p fingerprint.Print) string { return "response." + p.String() }

// arrive adds an arrival to the shared record and returns those within the window.
func (c *Counter) arrive(ctx context.Context, p fingerprint.Print, a *eventv1.Arrival) ([]*eventv1.Arrival, error) {
	var all []*eventv1.Arrival
	err := c.change(ctx, responseKey(p), func(r *eventv1.Recurrence) bool {
		oldest := a.GetUnixMillis() - Window.Milliseconds()
		all = all[:0]
		for _, earlier := range without(r.GetArrivals(), a.GetMessageId()) {
			if earlier.GetUnixMillis() > oldest {
				all = append(all, earlier)
			}
		}
		all = append(all, a)
		all = all[max(0, len(all)-c.limit-1):]
		r.Arrivals = all
		return true
	})
	return all, err
}

func without(arrivals []*eventv1.Arrival, messageID string) []*eventv1.Arrival {
	kept := make([]*eventv1.Arrival, 0, len(arrivals)+1)
	for _, a := range arrivals {
		if a.GetMessageId() != messageID {
			kept = append(kept, a)
		}
	}
	return kept
}

// change reads, changes and writes a record until no other gateway came between; change returns false to leave it as it
// is. The first time it writes without reading, since most records are new.
func (c *Counter) change(ctx context.Context, key string, change func(*eventv1.Recurrence) bool) error {
	var revision uint64
	record := new(eventv1.Recurrence)
	for {
		if change(record) {
			value, err := proto.Marshal(record)
			if err != nil {
				return fmt.Errorf("encode recurrence: %w", err)
			}
			stored, err := c.store.Put(ctx, key, value, revision)
			if stored || err != nil {
				return err
			}
		} else if revision > 0 {
			return nil
		}
		value, at, err := c.store.Get(ctx, key)
		if err != nil {
			return err
		}
		if at == 0 && revision == 0 && len(record.GetArrivals()) == 0 && len(record.GetSlots()) == 0 {
			return nil // nothing there to change
		}
		revision = at
		record = new(eventv1.Recurrence)
		if err := proto.Unmarshal(value, record); err != nil {
			record = new(eventv1.Recurrence) // a value of nobody's: it is counted anew
		}
	}
}

// looping are prints of which it is known that every further arrival is one too many.
type looping struct {
	mu    sync.Mutex
	ends  map[fingerprint.Print]time.Time
	write map[fingerprint.Print]time.Time // when an arrival is written again, so that the loop does not pass now and then
}

const (
	// maxLooping bounds what is kept of loops that go on.
	maxLooping = 10_000
	// rewrite is how often an arrival of a print that is looping anyhow is written.
	rewrite = 10 * time.Second
)

func (l *looping) until(p fingerprint.Print, now, end time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ends == nil || len(l.ends) >= maxLooping {
		l.ends, l.write = map[fingerprint.Print]time.Time{}, map[fingerprint.Print]time.Time{}
	}
	l.ends[p], l.write[p] = end, now.Add(rewrite)
}

// over forgets a print that is no loop any more.
func (l *looping) over(p fingerprint.Print) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.ends, p)
	delete(l.write, p)
}

// still reports whether an arrival now is one too many for sure, and need not be written.
func (l *looping) still(p fingerprint.Print, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Before(l.ends[p]) && now.Before(l.write[p])
}
