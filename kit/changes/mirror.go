// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

const (
	// againPause is the pause before a watch that failed is made again.
	againPause = time.Second
	// askAgain is after how long the end of the changes is asked for again while the mirror has not come so far.
	askAgain = time.Second
)

// Mirror holds all changes in memory. It is safe for use by many goroutines.
type Mirror struct {
	store *bus.Changes

	mu       sync.RWMutex
	at       uint64 // sequence of the last entry taken in
	whole    bool
	index    *index
	progress map[string]map[int]*eventv1.Change // by change id and partition
	changed  chan struct{}                      // closed and replaced with every change

	// While a watch begins anew its entries gather here.
	nextIndex    *index
	nextProgress map[string]map[int]*eventv1.Change
	nextAt       uint64
}

// NewMirror returns a mirror of a store. Run fills it.
func NewMirror(store *bus.Changes) *Mirror {
	return &Mirror{
		store: store, index: newIndex(), progress: make(map[string]map[int]*eventv1.Change), changed: make(chan struct{}),
	}
}

// Run keeps the mirror until ctx ends. failed, when set, is told of a watch that failed and is made again.
func (m *Mirror) Run(ctx context.Context, failed func(error)) {
	for ctx.Err() == nil {
		m.mu.Lock()
		m.nextIndex, m.nextProgress = newIndex(), make(map[string]map[int]*eventv1.Change)
		m.mu.Unlock()
		err := m.store.Watch(ctx, m.take, m.begun)
		if ctx.Err() != nil {
			return
		}
		if failed != nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(againPause):
		}
	}
}

// begun says that a watch has told all there is.
func (m *Mirror) begun() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index, m.progress = m.nextIndex, m.nextProgress
	m.at, m.whole = max(m.at, m.nextAt), true
	m.nextIndex, m.nextProgress, m.nextAt = nil, nil, 0
	m.tell()
}

func (m *Mirror) take(e bus.ChangeEvent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	index, progress, at := m.index, m.progress, &m.at
	if m.nextIndex != nil {
		index, progress, at = m.nextIndex, m.nextProgress, &m.nextAt
	}
	*at = max(*at, e.Sequence)
	switch {
	case e.ID == "":
	case e.Partition != bus.AnyPartition && e.Change == nil:
		delete(progress[e.ID], e.Partition)
		if len(progress[e.ID]) == 0 {
			delete(progress, e.ID)
		}
	case e.Partition != bus.AnyPartition:
		if progress[e.ID] == nil {
			progress[e.ID] = make(map[int]*eventv1.Change)
		}
		progress[e.ID][e.Partition] = e.Change
	case e.Change == nil:
		index.remove(e.ID)
	default:
		index.add(&Entry{Change: e.Change, Order: e.Sequence})
	}
	m.tell()
}

// tell wakes who waits; m.mu is held.
func (m *Mirror) tell() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Changed returns a channel that is closed with the next change of anything.
func (m *Mirror) Changed() <-chan struct{} {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.changed
}

// CatchUp waits until the mirror has every change that was stored before the call.
func (m *Mirror) CatchUp(ctx context.Context) error {
	for {
		last, err := m.store.Last(ctx)
		if err != nil {
			return fmt.Errorf("catch up with the changes: %w", err)
		}
		if ok, err := m.reach(ctx, last); ok || err != nil {
			return err
		}
	}
}

// reach waits for an entry, but not long: it may be gone meanwhile.
func (m *Mirror) reach(ctx context.Context, last uint64) (bool, error) {
	again := time.NewTimer(askAgain)
	defer again.Stop()
	for {
		m.mu.RLock()
		ok, changed := m.whole && m.at >= last, m.changed
		m.mu.RUnlock()
		if ok {
			return true, nil
		}
		select {
		case <-changed:
		case <-again.C:
			return false, nil
		case <-ctx.Done():
			return false, fmt.Errorf("catch up with the changes: %w", ctx.Err())
		}
	}
}

// Standing returns what holds for some mail.
func (m *Mirror) Standing(mail Mail) Standing {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.index.standing(mail)
}

// Matching returns the changes that match some mail and wants lets pass, in no particular order.
func (m *Mirror) Matching(mail Mail, wants func(*eventv1.Change) bool) []*eventv1.Change {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.index.byID) == 0 {
		return nil
	}
	var list []*eventv1.Change
	m.index.each(mail, func(e *Entry) {
		if wants(e.Change) {
			list = append(list, e.Change)
		}
	})
	return list
}

// List returns all changes in their order.
func (m *Mirror) List() []Entry {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]Entry, 0, len(m.index.byID))
	for _, e := range m.index.byID {
		list = append(list, *e)
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.Order, b.Order) })
	return list
}

// Progress returns how far a partition has come with a change, nil when it has not begun.
func (m *Mirror) Progress(id string, partition int) *eventv1.Change {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.progress[id][partition]
}
