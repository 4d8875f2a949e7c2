// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const memberPrefix = "sender."

// Members is the list of live senders: each announces itself by a key with a time to live, renewed every third of
// it, and watches the keys of all.
type Members struct {
	keys  *expiring
	owner string
	ttl   time.Duration

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	ready   chan struct{} // closed when the first list is whole

	mu      sync.Mutex
	live    map[string]sighted
	changed chan struct{}
}

// sighted is an owner whose announcement was seen.
type sighted struct {
	last time.Time // when the last one came, monotonic
	ttl  time.Duration
}

// OpenMembers announces owner and returns once the list of those who are there is read. An empty owner announces
// nobody and only watches. The owner is a name as
// Leases.Acquire has it. Close must be called.
func OpenMembers(ctx context.Context, js jetstream.JetStream, owner string, ttl time.Duration) (*Members, error) {
	keys, err := openExpiring(ctx, js, BucketOwners, ttl)
	if err != nil {
		return nil, err
	}
	if owner != "" {
		if err := checkName(owner); err != nil {
			return nil, fmt.Errorf("announce a sender: %w", err)
		}
	}
	m := &Members{
		keys: keys, owner: owner, ttl: ttl, ready: make(chan struct{}),
		live: make(map[string]sighted), changed: make(chan struct{}, 1),
	}
	if owner != "" {
		if err := m.announce(ctx); err != nil {
			return nil, err
		}
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.running.Go(m.watch)
	m.running.Go(m.bury)
	if owner != "" {
		m.running.Go(m.keep)
	}
	select {
	case <-m.ready:
		return m, nil
	case <-ctx.Done():
		m.stop()
		return nil, fmt.Errorf("read the list of senders: %w", ctx.Err())
	}
}

// Live returns the owners that are there, in order.
func (m *Members) Live() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	owners := make([]string, 0, len(m.live))
	for owner := range m.live {
		owners = append(owners, owner)
	}
	slices.Sort(owners)
	return owners
}

// Changed receives a value after the list has changed, one for several changes in a row.
func (m *Members) Changed() <-chan struct{} { return m.changed }

// Prefers returns the live owner that is first for a partition, "" when there is none.
func (m *Members) Prefers(partition int) string { return Preferred(m.Live(), partition) }

// Close takes the announcement back and ends the watch.
func (m *Members) Close(ctx context.Context) error {
	m.stop()
	if m.owner == "" {
		return nil
	}
	key := memberPrefix + m.owner
	announced, err := m.keys.get(ctx, key)
	if err == nil {
		err = m.keys.remove(ctx, key, announced.revision)
	}
	if err != nil {
		return fmt.Errorf("take %s off the list of senders: %w", m.owner, err)
	}
	return nil
}

func (m *Members) stop() {
	m.cancel()
	m.running.Wait()
}

// announce writes this owner's key, whatever stands there: the name is this process's alone.
func (m *Members) announce(ctx context.Context) error {
	for {
		key := memberPrefix + m.owner
		announced, err := m.keys.get(ctx, key)
		if err == nil {
			_, err = m.keys.put(ctx, key, m.owner, announced.revision)
		}
		if err == nil {
			return nil
		}
		if classify(err) != refused || ctx.Err() != nil { // refused: a late try of our own was stored in between
			return fmt.Errorf("announce %s: %w", m.owner, err)
		}
	}
}

func (m *Members) keep() {
	tick := time.NewTicker(m.ttl / 3)
	defer tick.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-tick.C:
			ctx, cancel := context.WithTimeout(m.ctx, m.ttl/3)
			_ = m.announce(ctx) // tried again with the next tick
			cancel()
		}
	}
}

// watch keeps the list until Close. A watch that ends is made again.
func (m *Members) watch() {
	for m.ctx.Err() == nil {
		if err := m.watchOnce(); err != nil {
			select {
			case <-m.ctx.Done():
			case <-time.After(lastPause):
			}
		}
	}
}

func (m *Members) watchOnce() error {
	r, err := NewReader(m.ctx, m.keys.js, ReaderOptions{
		Stream: ownersStream, Subjects: []string{ownersSubject(memberPrefix + ">")}, HeadersOnly: true,
	})
	if err != nil {
		return fmt.Errorf("watch the list of senders: %w", err)
	}
	defer func() { _ = r.Close() }()
	live := make(map[string]sighted)
	err = r.ReadToEnd(m.ctx, func(d Delivery) error {
		if owner, ttl, here := announcement(d); here {
			live[owner] = sighted{last: time.Now(), ttl: ttl}
		} else {
			delete(live, owner)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("watch the list of senders: %w", err)
	}
	m.replace(live)
	for {
		d, err := r.Next(m.ctx)
		if err != nil {
			return fmt.Errorf("watch the list of senders: %w", err)
		}
		m.set(announcement(d))
	}
}

// announcement reads whose key was written, and whether it was removed: by its owner, or by the server since it ran
// out.
func announcement(d Delivery) (owner string, ttl time.Duration, here bool) {
	owner = strings.TrimPrefix(d.Subject, ownersSubject(memberPrefix))
	return owner, ttlOf(d.Header), d.Header.Get(kvOperation) == "" && d.Header.Get(jetstream.MarkerReasonHeader) == ""
}

// replace takes a whole list.
func (m *Members) replace(live map[string]sighted) {
	m.mu.Lock()
	m.live = live
	m.mu.Unlock()
	select {
	case <-m.ready:
	default:
		close(m.ready)
	}
	m.tell()
}

func (m *Members) set(owner string, ttl time.Duration, live bool) {
	m.mu.Lock()
	_, before := m.live[owner]
	if live {
		m.live[owner] = sighted{last: time.Now(), ttl: ttl}
	} else {
		delete(m.live, owner)
	}
	m.mu.Unlock()
	if before != live {
		m.tell()
	}
}

// bury forgets those who have not announced themselves for too long, though the server still has their keys. While it is
// away, or this process stood still, their silence means nothing.
func (m *Members) bury() {
	every := m.ttl / 3
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-m.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		deaf := now.Sub(last) > 2*every || !m.keys.js.Conn().IsConnected()
		last = now
		if m.silent(now, deaf) {
			m.tell()
		}
	}
}

// silent takes those off the list who are overdue, and reports whether there were any. When nothing could be heard, the
// time of all begins anew.
func (m *Members) silent(now time.Time, deaf bool) (gone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for owner, s := range m.live {
		switch {
		case deaf:
			s.last = now
			m.live[owner] = s
		case owner != m.owner && s.ttl > 0 && now.Sub(s.last) > overdue(s.ttl):
			delete(m.live, owner)
			gone = true
		}
	}
	return gone
}

func (m *Members) tell() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Preferred returns the owner that is first for a partition by rendezvous hashing: whoever comes or goes, only the
// partitions it gains or leaves move. All processes compute the same. It is "" without owners.
func Preferred(owners []string, partition int) string {
	if len(owners) == 0 {
		return ""
	}
	return slices.MaxFunc(owners, func(a, b string) int {
		if c := cmp.Compare(weight(a, partition), weight(b, partition)); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
}

func weight(owner string, partition int) uint64 {
	sum := sha256.Sum256(binary.BigEndian.AppendUint32([]byte(owner), uint32(partition)))
	return binary.BigEndian.Uint64(sum[:])
}
