// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"
)

// ErrLeaseLost says that a lease ran out, was released, or is held by somebody else by now.
var ErrLeaseLost = errors.New("lease lost")

// HeldError reports that another owner has the lease.
type HeldError struct{ Name, Owner string }

func (e *HeldError) Error() string { return fmt.Sprintf("lease %s is held by %s", e.Name, e.Owner) }

// Leases are exclusive for a time: a key with a time to live that is created or taken by compare-and-set. A lease
// alone does not keep a stopped process from going on where it stood; fences do that.
type Leases struct {
	keys *expiring
	ttl  time.Duration

	mu   sync.Mutex
	seen map[string]sightedLease // leases of others, by key
}

// sightedLease is a lease that another had when it was asked for.
type sightedLease struct {
	revision uint64
	first    time.Time // when it was seen first, monotonic
}

// OpenLeases opens the leases. ttl is at least a second; the server keeps it in whole seconds, rounded up.
func OpenLeases(ctx context.Context, js jetstream.JetStream, ttl time.Duration) (*Leases, error) {
	keys, err := openExpiring(ctx, js, BucketOwners, ttl)
	if err != nil {
		return nil, err
	}
	return &Leases{keys: keys, ttl: ttl, seen: make(map[string]sightedLease)}, nil
}

// Acquire takes the lease of a partition. It returns a *HeldError when another owner has it.
//
// The owner is the name of a process: ASCII letters, digits, dots, dashes and underscores. A lease held under the same name is taken over at once: so
// a process that was killed and started again need not wait until its former lease runs out. Two processes that
// run at the same time must not share a name.
//
// A lease that was not renewed for longer than its time to live, seen from call to call, is taken over too, whatever the
// server's clock says.
func (l *Leases) Acquire(ctx context.Context, partition int, owner string) (*Lease, error) {
	return l.AcquireNamed(ctx, strconv.Itoa(partition), owner)
}

// AcquireNamed takes a lease that is not a partition's. The name is of the letters an owner may have.
func (l *Leases) AcquireNamed(ctx context.Context, name, owner string) (*Lease, error) {
	if err := errors.Join(checkName(name), checkName(owner)); err != nil {
		return nil, fmt.Errorf("lease %s: %w", name, err)
	}
	x := &Lease{
		keys: l.keys, name: name, key: "lease." + name, ttl: l.ttl,
		value: owner + " " + ulid.Make().String(), lost: make(chan struct{}),
	}
	if err := l.acquire(ctx, x, owner); err != nil {
		return nil, err
	}
	go x.keep()
	return x, nil
}

// Lease is a lease that was acquired. It renews itself every third of its time to live until it is lost or
// released. It is safe for use by many goroutines.
type Lease struct {
	keys      *expiring
	name, key string
	value     string // owner and an id of this very lease
	ttl       time.Duration
	lost      chan struct{}

	renewing sync.Mutex // one renewal at a time

	mu        sync.Mutex
	revision  uint64
	confirmed time.Time // when the request of the last confirmed renewal was sent
	ended     bool
}

// Confirmed reports whether the lease was certainly held a moment ago: the last renewal that was answered had
// been sent less than the time to live ago. Both clocks are asked, so that a machine that was suspended, whose
// monotonic clock stood still, does not believe in a lease that ran out.
func (x *Lease) Confirmed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	return !x.ended && now.Sub(x.confirmed) < x.ttl && now.Round(0).Sub(x.confirmed.Round(0)) < x.ttl
}

// Lost is closed when the lease is certainly lost, and by Release.
func (x *Lease) Lost() <-chan struct{} { return x.lost }

// Revision returns the revision of the last confirmed renewal. It grows with every renewal and every owner.
func (x *Lease) Revision() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.revision
}

// Renew renews the lease now. When it returns nil the lease was held without interruption since it was acquired. The
// error wraps ErrLeaseLost when it is lost; after any other error nothing is known.
func (x *Lease) Renew(ctx context.Context) error {
	x.renewing.Lock()
	defer x.renewing.Unlock()
	select {
	case <-x.lost:
		return fmt.Errorf("renew lease %s: %w", x.name, ErrLeaseLost)
	default:
	}
	sent := time.Now()
	revision, err := x.keys.put(ctx, x.key, x.value, x.Revision())
	if err == nil {
		x.confirm(sent, revision)
		return nil
	}
	if classify(err) != refused {
		return fmt.Errorf("renew lease %s: %w", x.name, err)
	}
	// Either the lease is another's, or an earlier renewal was stored and its answer lost.
	held, err := x.keys.get(ctx, x.key)
	if err != nil {
		return fmt.Errorf("renew lease %s: %w", x.name, err)
	}
	if held.value != x.value {
		x.end()
		return fmt.Errorf("renew lease %s: %w", x.name, ErrLeaseLost)
	}
	sent = time.Now()
	if revision, err = x.keys.put(ctx, x.key, x.value, held.revision); err != nil {
		return fmt.Errorf("renew lease %s: %w", x.name, err)
	}
	x.confirm(sent, revision)
	return nil
}

// Release gives the lease up, so that another can have it at once. It is safe to call it when the lease is lost.
func (x *Lease) Release(ctx context.Context) error {
	x.mu.Lock()
	ended := x.ended
	x.mu.Unlock()
	x.renewing.Lock()
	defer x.renewing.Unlock()
	x.end()
	if ended {
		return nil
	}
	// A renewal whose answer was lost makes the revision wrong; then the lease runs out by itself.
	if err := x.keys.remove(ctx, x.key, x.Revision()); err != nil && classify(err) != refused {
		return fmt.Errorf("release lease %s: %w", x.name, err)
	}
	return nil
}

func (l *Leases) acquire(ctx context.Context, x *Lease, owner string) error {
	for {
		held, err := x.keys.get(ctx, x.key)
		if err != nil {
			return fmt.Errorf("acquire lease %s: %w", x.name, err)
		}
		holder, _, _ := strings.Cut(held.value, " ")
		if held.value != "" && holder != owner && !l.abandoned(x.key, held) {
			return &HeldError{Name: x.name, Owner: holder}
		}
		sent := time.Now()
		revision, err := x.keys.put(ctx, x.key, x.value, held.revision)
		if err == nil {
			l.forget(x.key)
			x.confirm(sent, revision)
			return nil
		}
		if classify(err) != refused {
			return fmt.Errorf("acquire lease %s: %w", x.name, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("acquire lease %s: %w", x.name, ctx.Err())
		}
	}
}

// abandoned reports whether a lease has stood unchanged, since it was seen first, for longer than it lives.
func (l *Leases) abandoned(key string, held entry) bool {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[key].revision != held.revision {
		l.seen[key] = sightedLease{revision: held.revision, first: now}
	}
	return held.ttl > 0 && now.Sub(l.seen[key].first) > overdue(held.ttl)
}

func (l *Leases) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.seen, key)
}

// keep renews the lease until it is lost or released.
func (x *Lease) keep() {
	tick := time.NewTicker(x.ttl / 3)
	defer tick.Stop()
	for {
		select {
		case <-x.lost:
			return
		case <-tick.C:
			ctx, cancel := context.WithTimeout(context.Background(), x.ttl/3)
			_ = x.Renew(ctx) // what failed shows in Confirmed, what is lost in Lost
			cancel()
		}
	}
}

func (x *Lease) confirm(sent time.Time, revision uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.confirmed, x.revision = sent, revision
}

func (x *Lease) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.ended {
		x.ended = true
		close(x.lost)
	}
}
