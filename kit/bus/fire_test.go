// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// Owner after owner takes the partition from one that is at work and does not know of it, while connections break and
// answers are lost. Whatever an owner was told is stored is there once and in its order, and nothing of a former owner
// lies behind a takeover.
func TestTakeoversUnderFire(t *testing.T) {
	t.Parallel()
	s, _ := startBus(t)
	subject := OutcomeSubject(Quiet, 0)
	leases := openLeases(t, client(t, s), 10*time.Second)
	const owners = 12
	var mu sync.Mutex
	stored := make(map[uint64]string) // by sequence, what an owner was told
	var wg sync.WaitGroup
	for generation := range owners {
		// The same name takes the lease from a process that still runs.
		lease, err := leases.Acquire(retryContext(t, leases.keys.js), 0, "owner")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = lease.Release(testContext(t)) })
		taken, err := TakeOver(testContext(t), client(t, s), 0, TakeOverOptions{
			Owner: fmt.Sprint(generation), Confirm: lease.Renew, RetryMinutes: []int{0},
		})
		if err != nil {
			t.Fatal(err)
		}
		a := newAppender(t, client(t, s), AppenderOptions{
			Fence:  taken.Fences[subject],
			Linger: 2 * time.Millisecond, RetryFor: Forever, PublishTimeout: 100 * time.Millisecond,
			OnRefused: func(ctx context.Context, _ error) error { return lease.Renew(ctx) },
		})
		started := make(chan struct{})
		wg.Go(func() { work(t, a, generation, started, &mu, stored, generation == owners-1) })
		<-started
		switch rand.IntN(4) {
		case 0:
			s.CutConnections()
		case 1:
			loseAnswers(s, func() { time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) })
		case 2:
			s.Crash()
		}
	}
	wg.Wait()

	r := newReader(t, client(t, s), ReaderOptions{Stream: StreamOutcome, Subjects: []string{subject}})
	owner, seen := -1, make(map[string]bool)
	err := r.ReadToEnd(retryContext(t, r.js), func(d Delivery) error {
		if by := d.Takeover(); by != "" {
			if by != fmt.Sprint(owner+1) {
				t.Errorf("takeover by %s after %d", by, owner)
			}
			owner++
			return nil
		}
		for _, id := range recordIDs(t, d) {
			if seen[id] {
				t.Errorf("%s is stored twice", id)
			}
			if seen[id] = true; !strings.HasPrefix(id, fmt.Sprint(owner)+"/") {
				t.Errorf("%s lies behind the takeover of %d", id, owner)
			}
			if told, ok := stored[d.Sequence]; ok && told != id {
				t.Errorf("segment %d holds %s, its owner was told %s", d.Sequence, id, told)
			}
			delete(stored, d.Sequence)
		}
		return nil
	})
	if err != nil || len(stored) > 0 || owner != owners-1 {
		t.Errorf("%d segments are not there, last owner %d, %v", len(stored), owner, err)
	}
	t.Logf("%d records of %d owners", len(seen), owners)
}

// work appends records one by one until the owner is fenced off; the last one stops by itself.
func work(t *testing.T, a *Appender, generation int, started chan struct{}, mu *sync.Mutex, stored map[uint64]string, last bool) {
	for i := 0; !last || i < 50; i++ {
		id := fmt.Sprintf("%d/%d", generation, i)
		p, err := a.Append(context.Background(), []Frame{mailFrame(t, id)})
		if i == 5 {
			close(started)
		}
		var fenced *FencedError
		switch {
		case errors.As(err, &fenced):
			if i < 5 {
				close(started)
			}
			return
		case err != nil:
			t.Errorf("%s: %v", id, err)
			return
		}
		mu.Lock()
		stored[p.Sequence] = id
		mu.Unlock()
	}
}
