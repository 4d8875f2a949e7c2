// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/testkit/await"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.LeakOptions()...) }

const patience = 20 * time.Second

// fake is a tenure that does nothing.
type fake struct {
	partition int
	failed    chan struct{}

	mu      sync.Mutex
	refuse  bool // to resume
	stopped bool
	resumed int
}

func (f *fake) Failed() <-chan struct{} { return f.failed }
func (f *fake) Err() error              { return nil }

func (f *fake) Resume(context.Context, *bus.Lease) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resumed++
	if f.refuse {
		return errors.New("taken over")
	}
	return nil
}

func (f *fake) setRefuse(refuse bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

func (f *fake) Stop(context.Context, time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	return true
}

func (f *fake) state() (stopped bool, resumed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stopped, f.resumed
}

// party is a keeper that runs.
type party struct {
	t       *testing.T
	keeper  *Keeper[*fake]
	members *bus.Members
	ready   chan struct{}
	stop    func()

	mu      sync.Mutex
	started []*fake
	fail    error // of the next start
}

func join(t *testing.T, srv *bustest.Server, owner string, partitions int) *party {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	js := srv.JetStream()
	p := &party{t: t, ready: make(chan struct{})}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(bus.Ensure(ctx, js, bus.Layout{Partitions: partitions}))
	leases, err := bus.OpenLeases(ctx, js, 2*time.Second)
	must(err)
	p.members, err = bus.OpenMembers(ctx, js, owner, 2*time.Second)
	must(err)
	p.keeper = New(Options[*fake]{
		Leases: leases, Members: p.members, Partitions: partitions, Owner: owner, Start: p.start,
		Again: 50 * time.Millisecond, Grace: time.Second, Stop: 5 * time.Second,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	done := make(chan struct{})
	go func() { defer close(done); p.keeper.Run(ctx, func() { close(p.ready) }) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		closing, end := context.WithTimeout(context.Background(), time.Second)
		defer end()
		_ = p.members.Close(closing)
	})
	t.Cleanup(p.stop)
	return p
}

func (p *party) start(_ context.Context, partition int, _ *bus.Lease) (*fake, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fail; err != nil {
		p.fail = nil
		return nil, err
	}
	f := &fake{partition: partition, failed: make(chan struct{})}
	p.started = append(p.started, f)
	return f, nil
}

func (p *party) starts() []*fake {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*fake(nil), p.started...)
}

func (p *party) awaitReady() {
	p.t.Helper()
	select {
	case <-p.ready:
	case <-time.After(patience):
		p.t.Fatal("not ready")
	}
}

func TestAloneASenderOwnsEverything(t *testing.T) {
	srv := bustest.Start(t)
	a := join(t, srv, "a", 4)
	a.awaitReady()
	if n := len(a.keeper.Owned()); n != 4 {
		t.Errorf("owns %d of 4 when ready", n)
	}
	a.stop()
	for _, f := range a.starts() {
		if stopped, _ := f.state(); !stopped {
			t.Errorf("partition %d was not given up", f.partition)
		}
	}
}

func TestPartitionsAreSharedAndTakenOver(t *testing.T) {
	srv := bustest.Start(t)
	a := join(t, srv, "a", 16)
	a.awaitReady()
	b := join(t, srv, "b", 16)
	b.awaitReady()
	shared := func() bool {
		mine, theirs := a.keeper.Owned(), b.keeper.Owned()
		for p := range theirs {
			if _, both := mine[p]; both {
				t.Fatalf("partition %d is owned by both", p)
			}
		}
		return len(mine)+len(theirs) == 16 && len(mine) > 2 && len(theirs) > 2
	}
	await.Until(t, "both have a share", shared)
	b.stop()
	await.Until(t, "a has everything again", func() bool { return len(a.keeper.Owned()) == 16 })
}

func TestATenureThatFailsIsStartedAnew(t *testing.T) {
	srv := bustest.Start(t)
	a := join(t, srv, "a", 1)
	a.awaitReady()
	close(a.starts()[0].failed)
	await.Until(t, "a second tenure", func() bool { return len(a.starts()) == 2 && len(a.keeper.Owned()) == 1 })
	if stopped, _ := a.starts()[0].state(); !stopped {
		t.Error("the first was not stopped")
	}
}

func TestATakeoverThatFailsIsTriedAgain(t *testing.T) {
	srv := bustest.Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := bus.Ensure(ctx, srv.JetStream(), bus.Layout{Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	blocker, err := bus.OpenLeases(ctx, srv.JetStream(), 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	held, err := blocker.Acquire(ctx, 0, "other")
	if err != nil {
		t.Fatal(err)
	}
	a := join(t, srv, "a", 1)
	a.awaitReady() // the partition is another's: known, and no reason to wait
	if len(a.keeper.Owned()) != 0 {
		t.Fatal("owns what another holds")
	}
	a.mu.Lock()
	a.fail = errors.New("no server")
	a.mu.Unlock()
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "taken over", func() bool { return len(a.keeper.Owned()) == 1 })
}

func TestALeaseThatRanOutIsTakenUpAgain(t *testing.T) {
	for name, refuse := range map[string]bool{"nobody else had it": false, "another had it": true} {
		t.Run(name, func(t *testing.T) {
			srv := bustest.Start(t)
			a := join(t, srv, "a", 1)
			a.awaitReady()
			first := a.starts()[0]
			first.setRefuse(refuse)
			// The lease's key is gone: its time ran out while the server was away.
			owners, err := srv.JetStream().KeyValue(context.Background(), bus.BucketOwners)
			if err != nil {
				t.Fatal(err)
			}
			if err := owners.Purge(context.Background(), "lease.0"); err != nil {
				t.Fatal(err)
			}
			await.Until(t, "resumed", func() bool { _, resumed := first.state(); return resumed == 1 })
			if !refuse {
				if stopped, _ := first.state(); stopped || len(a.keeper.Owned()) != 1 {
					t.Error("the tenure was ended though nobody else had the partition")
				}
				return
			}
			await.Until(t, "a new tenure", func() bool { return len(a.starts()) == 2 })
			if stopped, _ := first.state(); !stopped {
				t.Error("the old tenure goes on")
			}
		})
	}
}
