// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"github.com/postrider/postrider/kit/bodystore"
	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/changes"
	"github.com/postrider/postrider/kit/diskspace"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/ownership"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

const (
	// window is how many records a partition's owner holds at most (queue.md, section 4).
	window = 8192
	// windowBytes is what all partitions of this process may hold together, ledgerBytes what the ledger of one may take.
	windowBytes = 64 << 20
	ledgerBytes = 64 << 20
	// workFor is how long a record is in work before it is moved on or carried forward, and workForAtLeast how long even
	// when it holds others back: most attempts take no longer.
	workFor        = 10 * time.Minute
	workForAtLeast = 5 * time.Second
	// checkpointEvery is how often an idle owner stores a checkpoint when floors moved.
	checkpointEvery = 10 * time.Second
	// clockAge is how old the server's time may be that waits are reckoned by.
	clockAge = time.Second
	closing  = 2 * time.Second
	// sweepEvery is how often PARK is gone through for what expires (queue.md, section 6).
	sweepEvery = 15 * time.Minute
)

// queue is the service's part in the queue.
type queue struct {
	*service
	js      jetstream.JetStream
	bodies  bodystore.Store
	leases  *bus.Leases
	members *bus.Members
	changes *bus.Changes
	mirror  *changes.Mirror
	clock   *due.Clock
	keeper  *ownership.Keeper[*tenure.Tenure]
	disk    func() (percent int, err error) // how full it is; nil when the queue lies on other machines
}

// open makes the streams and announces this sender.
func (q *queue) open(ctx context.Context) (err error) {
	if err := bus.Ensure(ctx, q.js, q.layout()); err != nil {
		return err
	}
	folder := "" // contents too lie on other machines
	if q.env.NATSConfig.Embedded() {
		folder = q.env.NATSConfig.DataDir
		q.disk = func() (int, error) { return diskspace.Used(folder) }
	}
	if q.bodies, err = bodystore.Open(q.js, folder); err != nil {
		return err
	}
	ttl := q.env.Queue.LeaseTTL.Std()
	if q.leases, err = bus.OpenLeases(ctx, q.js, ttl); err != nil {
		return err
	}
	if q.changes, err = bus.OpenChanges(ctx, q.js); err != nil {
		return err
	}
	q.mirror = changes.NewMirror(q.changes)
	owner := q.owner()
	if q.members, err = bus.OpenMembers(ctx, q.js, owner, ttl); err != nil {
		return err
	}
	q.countSenders()
	q.clock = due.NewClock(q.serverTime, clockAge)
	q.keeper = ownership.New(ownership.Options[*tenure.Tenure]{
		Leases: q.leases, Members: q.members, Partitions: q.layout().Partitions, Owner: owner,
		Start: func(ctx context.Context, partition int, lease *bus.Lease) (*tenure.Tenure, error) {
			return q.start(ctx, partition, owner, lease)
		},
		Again: ttl / 4, Grace: grace, Stop: stopWithin, Log: q.env.Log,
	})
	return nil
}

// run keeps partitions until ctx ends.
func (q *queue) run(ctx context.Context, ready func()) {
	q.events.watch(q.keeper)
	var running sync.WaitGroup
	running.Go(func() { q.keepHouse(ctx) })
	mirrored, stopMirror := context.WithCancel(context.WithoutCancel(ctx)) // as long as attempts may go on
	running.Go(func() {
		q.mirror.Run(mirrored, func(err error) {
			q.env.Log.Warn("operators' changes are not read, it is tried again", slog.Any("error", err))
		})
	})
	q.keeper.Run(ctx, ready)
	stopMirror()
	running.Wait()
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	if err := q.members.Close(closeCtx); err != nil {
		q.env.Log.Warn("this sender stays on the list of senders until it runs out", slog.Any("error", err))
	}
}

func (q *queue) start(ctx context.Context, partition int, owner string, lease *bus.Lease) (*tenure.Tenure, error) {
	return tenure.Start(ctx, tenure.Options{
		JS: q.js, Partition: partition, Owner: owner, Lease: lease, Lanes: q.lanes, Clock: q.clock,
		Bodies: bodies{q.bodies}, Events: q.events, Retry: q.config.Retry, Log: q.env.Log.With(slog.Int("partition", partition)),
		Operators: tenure.Operators{Mirror: q.mirror, Store: q.changes, SweepEvery: sweepEvery},
		Limits: tenure.Limits{
			Window: window, LedgerBytes: ledgerBytes, CheckpointEvery: checkpointEvery,
			WorkFor: workFor, WorkForAtLeast: workForAtLeast,
			WindowBytes: func() int64 { return windowBytes / int64(max(1, len(q.keeper.Owned()))) },
		},
	})
}

func (q *queue) layout() bus.Layout {
	return bus.Layout{
		Partitions:   q.env.Queue.PartitionCount(q.env.NATSConfig.Embedded()),
		Replicas:     q.env.NATSConfig.ReplicaCount(),
		MaxStore:     q.env.NATSConfig.MaxStore.Bytes(),
		OutcomeBytes: q.env.NATSConfig.OutcomeBytes.Bytes(),
	}
}

// countSenders notes among how many senders connections are shared.
func (q *queue) countSenders() { q.senders.n.Store(int64(len(q.members.Live()))) }

// owner names this process where leases are held. The embedded server has no other client, so that a restart may take
// its own leases over at once; elsewhere every process has a name of its own.
func (q *queue) owner() string {
	if q.env.NATSConfig.Embedded() {
		return "embedded"
	}
	return "sender-" + ulid.Make().String()
}

// serverTime asks for the server's clock.
func (q *queue) serverTime(ctx context.Context) (time.Time, error) {
	s, err := q.js.Stream(ctx, bus.StreamMail)
	if err != nil {
		return time.Time{}, fmt.Errorf("server time: %w", err)
	}
	return s.CachedInfo().TimeStamp, nil
}

// bodies is the body store as a tenure uses it.
type bodies struct{ store bodystore.Store }

// Open opens a content (tenure.Bodies).
func (b bodies) Open(ctx context.Context, ref string) (io.ReadSeekCloser, error) {
	body, err := b.store.Open(ctx, ref)
	var foreign *bodystore.RefError
	switch {
	case err == nil:
		return body, nil
	case errors.Is(err, bodystore.ErrMissing), errors.As(err, &foreign):
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	default:
		return nil, err
	}
}

// senders is the number of senders that are there, as it was a moment ago.
type senders struct{ n atomic.Int64 }

func (s *senders) count() int { return int(max(1, s.n.Load())) }
