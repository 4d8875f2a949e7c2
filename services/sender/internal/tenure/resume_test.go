// SPDX-License-Identifier: Apache-2.0

package tenure_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

// lapse lets a lease run out: its key is removed as the server does when the time is over.
func (w *world) lapse(s *sender) {
	w.t.Helper()
	owners, err := w.js.KeyValue(w.ctx, bus.BucketOwners)
	w.must(err)
	w.must(owners.Purge(w.ctx, "lease.0"))
	w.eventually("the lease is lost", func() bool {
		select {
		case <-s.lease.Lost():
			return true
		default:
			return false
		}
	})
}

func (w *world) acquire(owner string) *bus.Lease {
	w.t.Helper()
	leases, err := bus.OpenLeases(w.ctx, w.js, 2*time.Second)
	w.must(err)
	lease, err := leases.Acquire(w.ctx, 0, owner)
	w.must(err)
	w.t.Cleanup(func() { _ = lease.Release(context.Background()) })
	return lease
}

func TestQ11_AttemptsGoOnWhenNobodyTookAPartitionWhoseLeaseRanOut(t *testing.T) {
	w := newWorld(t, 1)
	started, finish := make(chan struct{}), make(chan struct{})
	tell := sync.OnceFunc(func() { close(started) })
	s := w.start("a", 0, func(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
		tell()
		select {
		case <-finish:
			return answer(r)
		case <-ctx.Done():
			return nil
		}
	})
	w.submit(0, mail("m1", "defer-1@example.test"))
	<-started
	w.lapse(s)
	if err := s.tenure.Resume(w.ctx, w.acquire("a")); err != nil {
		t.Fatal(err)
	}
	close(finish)
	all := w.finals(1)
	if len(all) != 2 || all[1].GetResults()[0].GetPossibleDuplicate() {
		t.Errorf("%v", all)
	}
	if err := s.tenure.Err(); err != nil {
		t.Errorf("the tenure failed: %v", err)
	}
}

func TestQ07_APartitionAnotherHadIsNotResumed(t *testing.T) {
	w := newWorld(t, 1)
	s := w.start("a", 0, deliver)
	w.submit(0, mail("m1", "ok@example.test"))
	w.finals(1)
	w.lapse(s)
	other := w.start("b", 0, deliver)
	other.stop()
	if err := s.tenure.Resume(w.ctx, w.acquire("a")); err == nil {
		t.Error("resumed")
	}
}
