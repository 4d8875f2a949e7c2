// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/kit/bus"
)

// Tenure is the ownership of a partition, as *tenure.Tenure.
type Tenure interface {
	// Failed is closed when it cannot go on; Err says why.
	Failed() <-chan struct{}
	Err() error
	// Resume goes on under a new lease after the old one ran out, for example because the server was away. It fails
	// when somebody else owned the partition in between.
	Resume(ctx context.Context, lease *bus.Lease) error
	// Stop ends it, within ctx: attempts that run have grace to end. It reports whether nothing was left in flight.
	Stop(ctx context.Context, grace time.Duration) (clean bool)
}

// Options of a Keeper. All are required.
type Options[T Tenure] struct {
	Leases     *bus.Leases
	Members    *bus.Members
	Partitions int
	Owner      string
	// Start takes a partition over whose lease was acquired.
	Start func(ctx context.Context, partition int, lease *bus.Lease) (T, error)
	// Again is the pause before a lease that another has is asked for again.
	Again time.Duration
	// Grace is how long attempts that run may take to end; Stop is how long a partition may take to be given up.
	Grace, Stop time.Duration
	Log         *slog.Logger
}

// Keeper keeps the partitions that are this sender's.
type Keeper[T Tenure] struct {
	opts Options[T]

	mu      sync.Mutex
	owned   map[int]T
	changed chan struct{} // closed and replaced when senders came or went
}

// New returns a keeper.
func New[T Tenure](o Options[T]) *Keeper[T] {
	return &Keeper[T]{opts: o, owned: make(map[int]T), changed: make(chan struct{})}
}

// Run keeps partitions until ctx ends and then gives them up. It calls ready once every partition that is this
// sender's has been taken over, or was found to be held by another, who is then waited for.
func (k *Keeper[T]) Run(ctx context.Context, ready func()) {
	var running, undecided sync.WaitGroup
	undecided.Add(k.opts.Partitions)
	for p := range k.opts.Partitions {
		running.Go(func() { k.keep(ctx, p, sync.OnceFunc(undecided.Done)) })
	}
	running.Go(func() { k.watch(ctx) })
	running.Go(func() {
		undecided.Wait()
		if ctx.Err() == nil {
			ready()
		}
	})
	running.Wait()
}

// Owned returns the tenures there are, by partition.
func (k *Keeper[T]) Owned() map[int]T {
	k.mu.Lock()
	defer k.mu.Unlock()
	owned := make(map[int]T, len(k.owned))
	for p, t := range k.owned {
		owned[p] = t
	}
	return owned
}

// watch passes on that senders came or went.
func (k *Keeper[T]) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.opts.Members.Changed():
		}
		k.mu.Lock()
		close(k.changed)
		k.changed = make(chan struct{})
		k.mu.Unlock()
	}
}

// keep keeps one partition until ctx ends. decided is called when it is first known whose it is.
func (k *Keeper[T]) keep(ctx context.Context, p int, decided func()) {
	defer decided()
	for ctx.Err() == nil {
		k.mu.Lock()
		changed := k.changed
		k.mu.Unlock()
		if k.mine(p) {
			k.own(ctx, p, decided)
		}
		decided()
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(k.opts.Again):
		}
	}
}

// mine reports whether a partition is this sender's. It counts itself among the live ones even when the list does not:
// its announcement runs out while the server is away.
func (k *Keeper[T]) mine(p int) bool {
	live := k.opts.Members.Live()
	if !slices.Contains(live, k.opts.Owner) {
		live = append(live, k.opts.Owner)
	}
	return bus.Preferred(live, p) == k.opts.Owner
}

// own takes a partition and keeps it as long as it is this sender's. It returns when it was given up or cannot be had.
func (k *Keeper[T]) own(ctx context.Context, p int, decided func()) {
	log := k.opts.Log.With(slog.Int("partition", p))
	lease, ok := k.acquire(ctx, p, log)
	if !ok {
		return
	}
	defer func() { k.release(ctx, lease, log) }()
	t, err := k.start(ctx, p, lease)
	if err != nil {
		if ctx.Err() == nil {
			log.ErrorContext(ctx, "partition cannot be taken over", slog.Any("error", err))
		}
		return
	}
	log.InfoContext(ctx, "partition taken over")
	k.set(p, t)
	defer k.unset(p)
	decided()
	for k.wait(ctx, p, t, lease) {
		next, ok := k.resume(ctx, p, t, log)
		if !ok {
			break
		}
		lease = next
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.opts.Stop)
	defer cancel()
	clean := t.Stop(stop, k.opts.Grace)
	log.InfoContext(ctx, "partition given up", slog.Bool("clean", clean), slog.Any("cause", t.Err()))
}

// acquire takes the lease of a partition.
func (k *Keeper[T]) acquire(ctx context.Context, p int, log *slog.Logger) (lease *bus.Lease, ok bool) {
	lease, err := k.opts.Leases.Acquire(ctx, p, k.opts.Owner)
	if held, ok := errors.AsType[*bus.HeldError](err); ok {
		log.DebugContext(ctx, "partition is held by another sender", slog.String("owner", held.Owner))
		return nil, false
	}
	if err != nil {
		if ctx.Err() == nil {
			log.WarnContext(ctx, "partition cannot be acquired", slog.Any("error", err))
		}
		return nil, false
	}
	return lease, true
}

// resume goes on with a tenure whose lease ran out, if nobody else had the partition in between. As long as the server
// does not answer it tries again: nobody else can take the partition then either.
func (k *Keeper[T]) resume(ctx context.Context, p int, t T, log *slog.Logger) (lease *bus.Lease, ok bool) {
	for {
		lease, err := k.opts.Leases.Acquire(ctx, p, k.opts.Owner)
		if err == nil {
			if err = t.Resume(ctx, lease); err == nil {
				log.InfoContext(ctx, "lease had run out; nobody else took the partition")
				return lease, true
			}
			k.release(ctx, lease, log)
			log.WarnContext(ctx, "partition cannot be resumed", slog.Any("error", err))
			return nil, false
		}
		if held, ok := errors.AsType[*bus.HeldError](err); ok {
			log.WarnContext(ctx, "partition is another sender's now", slog.String("owner", held.Owner))
			return nil, false
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-t.Failed():
			return nil, false
		case <-time.After(k.opts.Again):
		}
	}
}

// start starts the tenure; it ends when the lease is lost meanwhile.
func (k *Keeper[T]) start(ctx context.Context, p int, lease *bus.Lease) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-lease.Lost():
			cancel()
		case <-done:
		}
	}()
	return k.opts.Start(ctx, p, lease)
}

// wait returns when the partition is to be given up, or (lapsed is true) when the lease is lost.
func (k *Keeper[T]) wait(ctx context.Context, p int, t T, lease *bus.Lease) (lapsed bool) {
	for {
		k.mu.Lock()
		changed := k.changed
		k.mu.Unlock()
		if !k.mine(p) {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-t.Failed():
			return false
		case <-lease.Lost():
			return true
		case <-changed:
		}
	}
}

func (k *Keeper[T]) release(ctx context.Context, lease *bus.Lease, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin)
	defer cancel()
	if err := lease.Release(ctx); err != nil {
		log.WarnContext(ctx, "lease was not released; it runs out by itself", slog.Any("error", err))
	}
}

const releaseWithin = 2 * time.Second

func (k *Keeper[T]) set(p int, t T) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.owned[p] = t
}

func (k *Keeper[T]) unset(p int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.owned, p)
}
