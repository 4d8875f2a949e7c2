// SPDX-License-Identifier: Apache-2.0

package room

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/services/gateway/internal/enqueue"
)

const (
	lookEvery   = time.Second
	lookTimeout = 3 * time.Second
	// staleAfter is how old a look may be before the queue counts as away.
	staleAfter = 10 * time.Second
	// maxDisk is how full the disk may be, in percent.
	maxDisk = 90
	// extra is how much more of the limit notifications may use, in percent: they are the consequence of mail that was
	// accepted (queue.md, section 3: 75 % of the store instead of 60 %).
	extra = 25
	// maxStored is how much of nats.max_store all streams may take, in percent, before no mail is accepted, and
	// maxStoredNotice before no notification is: outcomes go only when their notifications are made, and settling, leases
	// and checkpoints need the rest.
	maxStored, maxStoredNotice = 85, 97
)

// Use is what the queue takes, in bytes: what waits, with the body store, and all that the streams hold, outcomes and what
// waits for its purge included.
type Use struct{ Waiting, Stored int64 }

// Backlog measures the queue.
type Backlog func(ctx context.Context) (Use, error)

// Disk measures how full the disk of the queue is, in percent.
type Disk func() (int, error)

// Options are the parts of a Gauge.
type Options struct {
	// Conn is the connection to the queue's server.
	Conn *nats.Conn
	// Backlog is required; Disk is nil when the queue lies on other machines.
	Backlog Backlog
	Disk    Disk
	// Limit is gateway.queue_limit, Store nats.max_store, in bytes.
	Limit, Store int64
	Log          *slog.Logger
	Now          func() time.Time
}

// Gauge knows whether there is room. It is safe for concurrent use.
type Gauge struct {
	o Options

	mu     sync.Mutex
	looked time.Time // last look that succeeded
	use    Use       // at that look
	since  int64     // taken since it began
	disk   int
	failed error // of the last look
}

// New returns a gauge. Look must succeed once before there is room.
func New(o Options) *Gauge { return &Gauge{o: o} }

// Run looks at once and then once a second until ctx ends. looked is called after the first time.
func (g *Gauge) Run(ctx context.Context, looked func()) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for first, told := true, false; ; first = false {
		err := g.Look(ctx)
		if err != nil && ctx.Err() == nil && !told {
			g.o.Log.LogAttrs(ctx, slog.LevelWarn, "room in the queue not known, looking again", slog.String("error", err.Error()))
		}
		told = err != nil
		if first {
			looked()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Look measures.
func (g *Gauge) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	g.mu.Lock()
	before := g.since
	g.mu.Unlock()
	use, err := g.o.Backlog(ctx)
	disk := 0
	if err == nil && g.o.Disk != nil {
		disk, err = g.o.Disk()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = err
	if err != nil {
		return fmt.Errorf("measure the queue: %w", err)
	}
	g.looked, g.use, g.disk = g.o.Now(), use, disk
	g.since -= before // what came during the look may be counted twice, never not at all
	return nil
}

// Check returns an *rpc.Error when the queue takes nothing now (submit.Room).
func (g *Gauge) Check(notification bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.check(notification, 1)
}

// Take counts bytes that are about to be appended, or returns an *rpc.Error when there is no room for them. Calls that
// passed Check at the same time so share what room there is. What is not appended after all counts until the next look.
func (g *Gauge) Take(notification bool, bytes int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.check(notification, bytes); err != nil {
		return err
	}
	g.since += bytes
	return nil
}

// check looks whether bytes fit; g.mu is held.
func (g *Gauge) check(notification bool, bytes int64) error {
	if g.o.Conn != nil && !g.o.Conn.IsConnected() {
		return enqueue.Away(errors.New("not connected to the queue's server"))
	}
	if g.looked.IsZero() || g.o.Now().Sub(g.looked) > staleAfter {
		return enqueue.Away(g.failed)
	}
	limit, most := g.o.Limit, g.o.Store/100*maxStored
	if notification {
		limit += limit / 100 * extra
		most = g.o.Store / 100 * maxStoredNotice
	}
	if used := g.use.Waiting + g.since; used+bytes > limit {
		return enqueue.Full(fmt.Errorf("%d bytes wait, the limit is %d", used, limit))
	}
	if stored := g.use.Stored + g.since; stored+bytes > most {
		return enqueue.Full(fmt.Errorf("%d bytes are stored, the limit is %d", stored, most))
	}
	if g.disk >= maxDisk {
		return enqueue.Full(fmt.Errorf("the disk is %d %% full", g.disk))
	}
	return nil
}
