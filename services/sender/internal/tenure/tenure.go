// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/intake"
	"github.com/postrider/postrider/services/sender/internal/lanes"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/operators"
	"github.com/postrider/postrider/services/sender/internal/progress"
	"github.com/postrider/postrider/services/sender/internal/retryschedule"
)

// Lease is the right to own a partition, as *bus.Lease.
type Lease interface {
	// Confirmed reports whether the last renewal is young enough that nobody else can own the partition.
	Confirmed() bool
	// Renew renews it now. The error is final when Lost is closed.
	Renew(context.Context) error
	Lost() <-chan struct{}
	Revision() uint64
}

// Limits bound what a tenure holds in memory.
type Limits struct {
	// Window is the number of records read and not settled.
	Window int
	// WindowBytes is the size of their segments; it may change. LedgerBytes is what the ledger of a next owner may take.
	WindowBytes func() int64
	LedgerBytes int64
	// WorkFor is how long a record is in work before it is moved on or carried forward, and WorkForAtLeast how long even
	// when it holds its stream's floor back by half the window.
	WorkFor, WorkForAtLeast time.Duration
	// CheckpointEvery is how often an idle owner looks whether floors moved, and stores them if so.
	CheckpointEvery time.Duration
}

// Options of a tenure. All fields are required but Bodies, without which records that refer to the body store are
// held, and Events.
type Options struct {
	JS        jetstream.JetStream
	Partition int
	Owner     string
	Lease     Lease
	Lanes     *lanes.Lanes[*Record]
	Clock     *due.Clock
	Bodies    Bodies
	Limits    Limits
	// Retry says when a message expires, and when its sender is told of a delay, also while no attempt is made.
	Retry  retryschedule.Config
	Events Events
	// Operators are the changes operators make.
	Operators Operators
	Log       *slog.Logger
}

// Bodies is the body store, as far as a sender uses it.
type Bodies interface {
	// Open returns a content. The error wraps fs.ErrNotExist when it is not there.
	Open(ctx context.Context, ref string) (io.ReadSeekCloser, error)
}

// Events are told what happens, for logs and metrics. They must not block.
type Events interface {
	// Settling is called with each outcome before it is stored. next is when the remaining recipients are due.
	Settling(mail *eventv1.QueuedMail, o *eventv1.Outcome, next time.Time)
	// Moved is called with each copy that was stored, why as in QueuedMail.moved_for.
	Moved(why string)
	// Held is called when something is set aside that cannot be read or sent.
	Held(place string, fault error)
}

// Tenure is the ownership of one partition.
type Tenure struct {
	opts     Options
	lease    atomic.Pointer[Lease]
	since    uint64 // revision of the lease at the takeover
	minutes  []int
	outcomes map[bus.OutcomeKind]*bus.Appender
	retries  map[int]*bus.Appender
	parks    *bus.Appender
	rules    rules
	appended map[int]chan struct{} // something was appended to a RETRY stream
	unsaid   chan struct{}         // a checkpoint is wanted

	reading     context.Context // ends when nothing more is to be read
	stopReading context.CancelFunc
	attempts    context.Context // ends when attempts are to be given up
	abort       context.CancelFunc
	work        sync.WaitGroup // readers, holds, the checkpointer
	failed      chan struct{}

	mu       sync.Mutex
	desk     *intake.Desk
	changed  chan struct{} // closed and replaced when something was settled or ended, if waiters is not 0
	waiters  int
	stopping bool
	drained  bool // nothing is in flight and nothing more will be
	failure  error
	running  int // attempts
	moving   int // records whose settlement is on its way
	timers   map[*Record]*time.Timer
	aside    []*Record // waiting for the lease to be confirmed
	asideDue *time.Timer
	claimed  map[string]uint64 // segments of RETRY streams that a scan works on
	parkings parkings
	offered  map[bus.OutcomeKind]*eventv1.Checkpoint // put into the segment that was sent last
	latest   *eventv1.Checkpoint                     // of those the last
	pages    map[*progress.Segment]*page
	unread   map[ledger.Place]*Record // by the place of a copy that is not read
}

// Start takes the partition over and begins to work. When it returns, the ledger is read and the first checkpoint is
// stored. ctx bounds the takeover only. Stop must be called.
func Start(ctx context.Context, o Options) (*Tenure, error) {
	t := &Tenure{
		opts: o, failed: make(chan struct{}), changed: make(chan struct{}),
		claimed: make(map[string]uint64), parkings: parkings{open: make(map[int]int)},
		rules:  rules{Book: operators.NewBook(o.Operators.Mirror, o.Partition), schedule: &o.Retry},
		timers: make(map[*Record]*time.Timer), appended: make(map[int]chan struct{}),
		outcomes: make(map[bus.OutcomeKind]*bus.Appender), retries: make(map[int]*bus.Appender),
		unsaid: make(chan struct{}, 1), offered: make(map[bus.OutcomeKind]*eventv1.Checkpoint),
		pages: make(map[*progress.Segment]*page), unread: make(map[ledger.Place]*Record),
	}
	t.lease.Store(&o.Lease)
	t.since = o.Lease.Revision()
	t.reading, t.stopReading = context.WithCancel(context.Background())
	t.attempts, t.abort = context.WithCancel(context.Background())
	crashpoint.At("sender.takeover.before")
	taken, err := t.takeOver(ctx)
	if err == nil {
		t.openAppenders(taken)
		// Before the first record is handed out, a checkpoint must say that this owner was here: after a crash its
		// successor marks what it may have delivered.
		_, err = t.outcomes[bus.Quiet].Append(ctx, nil)
		crashpoint.At("sender.takeover.after")
	}
	if err == nil {
		// A process that was stopped during all that may have lost the lease without noticing.
		err = t.renew(ctx)
	}
	if err != nil {
		t.fail(err)
		t.closeAppenders(ctx)
		return nil, err
	}
	t.begin()
	return t, nil
}

func (t *Tenure) begin() {
	t.work.Go(func() { t.readMail(t.reading) })
	for _, m := range t.minutes {
		t.work.Go(func() { t.readRetry(t.reading, m) })
	}
	t.work.Go(func() { t.keepCheckpoint(t.reading) })
	t.work.Go(func() { t.keepSaying(t.reading) })
	t.work.Go(func() { t.clear(t.reading) })
	t.work.Go(func() { t.scanner().Run(t.reading) })
}

// Resume goes on under a new lease after the old one ran out. Nobody else took over in between if the last segment of the
// partition's outcomes is still this owner's: a takeover appends to them before anything else can happen. It must be
// called after the new lease was acquired; from then on nobody can take over without the fences noticing.
func (t *Tenure) Resume(ctx context.Context, lease *bus.Lease) error {
	last, err := bus.LastCheckpoint(ctx, t.opts.JS, t.opts.Partition)
	if err != nil {
		return err
	}
	if last.GetOwner() != t.opts.Owner || last.GetLeaseRevision() < t.since {
		return fmt.Errorf("partition %d: %w", t.opts.Partition, errTakenOver)
	}
	var next Lease = lease
	t.lease.Store(&next)
	return nil
}

// right returns the lease the partition is held by.
func (t *Tenure) right() Lease { return *t.lease.Load() }

// Failed is closed when the tenure cannot go on: it was fenced off, or its streams are gone. Err says why.
func (t *Tenure) Failed() <-chan struct{} { return t.failed }

// Err returns why the tenure failed, nil while it has not.
func (t *Tenure) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failure
}

// fail ends the tenure: what is not settled will be by the next owner. Attempts before their final dot are given up,
// since they may be another owner's by now.
func (t *Tenure) fail(err error) {
	t.mu.Lock()
	first := t.failure == nil
	if first {
		t.failure = err
		t.stopping = true
		close(t.failed)
		t.change()
	}
	t.mu.Unlock()
	if first {
		t.stopReading()
		t.abort()
	}
}

// Oldest returns how long ago the oldest record in work was read, 0 when there is none.
func (t *Tenure) Oldest() time.Duration {
	now := t.opts.Clock.Estimate()
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.desk.Oldest()
	if !ok {
		return 0
	}
	return max(0, now.Sub(at))
}

// Held returns how many records are in work, and the bytes of their segments.
func (t *Tenure) Held() (records int, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.desk.Held()
}

// Partition returns the partition's number.
func (t *Tenure) Partition() int { return t.opts.Partition }

// change tells those who wait that something has changed; t.mu is held.
func (t *Tenure) change() {
	if t.waiters == 0 {
		return
	}
	t.waiters = 0
	close(t.changed)
	t.changed = make(chan struct{})
}

// await waits until ok, which is called with t.mu held, or ctx ends.
func (t *Tenure) await(ctx context.Context, ok func() bool) error {
	for {
		t.mu.Lock()
		done, changed := ok(), t.changed
		if !done {
			t.waiters++
		}
		t.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var (
	errStopped   = errors.New("stopped")
	errLeaseLost = errors.New("lease lost")
	errTakenOver = errors.New("taken over by another owner")
)
