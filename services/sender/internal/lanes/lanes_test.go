// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/site"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	prioUrgent = eventv1.Priority_PRIORITY_URGENT
	prioNormal = eventv1.Priority_PRIORITY_NORMAL
	prioBulk   = eventv1.Priority_PRIORITY_BULK
)

func lanesOf(perSite, total int) *Lanes[string] {
	return New[string](Limits{PerSite: func(string) int { return perSite }, Total: total}, site.New(1000, nil))
}

func push(l *Lanes[string], n int, domain, tenant string, p eventv1.Priority) {
	for i := range n {
		l.Push(Mail{Domain: domain, Tenant: tenant, Priority: p, Size: 2048}, fmt.Sprintf("%s/%s/%d", domain, tenant, i))
	}
}

// serve takes n and finishes each before the next, and counts them by what count says of their key.
func serve(t *testing.T, l *Lanes[string], n int, count func(Key) string) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	for range n {
		r := l.next()
		if r == nil {
			t.Fatalf("nothing may start, %d waiting", l.Waiting())
		}
		counts[count(r.Key)]++
		r.Done()
	}
	return counts
}

func TestQ12_SitesTakeTurns(t *testing.T) {
	l := lanesOf(20, 100)
	push(l, 10000, "dead.example", "", prioNormal)
	push(l, 100, "good.example", "", prioNormal)
	counts := serve(t, l, 250, func(k Key) string { return k.Site })
	if counts["good.example"] != 100 {
		t.Errorf("of the first 250 turns the small lane had %d, want all its 100", counts["good.example"])
	}
}

func TestQ12_AFullSiteDoesNotDelayOthers(t *testing.T) {
	l := lanesOf(20, 100)
	push(l, 1000, "dead.example", "", prioUrgent)
	var running []*Run[string]
	for r := l.next(); r != nil; r = l.next() {
		running = append(running, r)
	}
	if len(running) != 20 {
		t.Fatalf("%d attempts run to one site, want 20", len(running))
	}
	push(l, 5, "good.example", "", prioBulk)
	counts := serve(t, l, 5, func(k Key) string { return k.Site })
	if counts["good.example"] != 5 {
		t.Errorf("%v", counts)
	}
	if l.next() != nil {
		t.Error("a twenty-first attempt starts")
	}
	running[0].Done()
	running[0].Done() // counts once
	if l.next() == nil || l.next() != nil {
		t.Error("the room of one attempt is not given to exactly one")
	}
}

func TestTenantsOfASiteTakeTurns(t *testing.T) {
	l := lanesOf(1, 1)
	push(l, 1000, "a.example", "big", prioNormal)
	push(l, 100, "a.example", "small", prioNormal)
	counts := serve(t, l, 200, func(k Key) string { return k.Tenant })
	if counts["small"] < 95 || counts["big"] < 95 {
		t.Errorf("turns by tenant: %v", counts)
	}
}

func TestUrgentMailOfAnotherTenantIsNotBehindANewsletter(t *testing.T) {
	l := lanesOf(1, 1)
	push(l, 20000, "a.example", "news", prioBulk)
	serve(t, l, 3, func(k Key) string { return "" })
	push(l, 1, "a.example", "bank", prioUrgent)
	counts := serve(t, l, 10, func(k Key) string { return k.Tenant })
	if counts["bank"] != 1 {
		t.Errorf("the urgent message is not among the next 10: %v", counts)
	}
}

func TestPrioritiesGoInOrderWithAFloor(t *testing.T) {
	l := lanesOf(1, 1)
	for _, p := range []eventv1.Priority{prioBulk, prioNormal, prioUrgent} {
		push(l, 1000, "a.example", "", p)
	}
	counts := serve(t, l, 1000, func(k Key) string { return k.Priority.String() })
	for p, want := range map[eventv1.Priority][2]int{prioUrgent: {780, 820}, prioNormal: {95, 110}, prioBulk: {95, 110}} {
		if n := counts[p.String()]; n < want[0] || n > want[1] {
			t.Errorf("%s had %d of 1000 turns", p, n)
		}
	}
	l = lanesOf(1, 1)
	push(l, 10, "a.example", "", prioBulk)
	push(l, 8, "a.example", "", eventv1.Priority_PRIORITY_UNSPECIFIED)
	for i := range 18 {
		r := l.next()
		if (r.Key.Priority == prioBulk) != (i >= 8) {
			t.Errorf("turn %d goes to %s", i, r.Key.Priority)
		}
		r.Done()
	}
}

func TestLargeMessagesCountForMore(t *testing.T) {
	l := lanesOf(20, 100)
	for i := range 1000 {
		l.Push(Mail{Domain: "large.example", Size: 1 << 20}, fmt.Sprint(i))
		l.Push(Mail{Domain: "small.example", Size: 1 << 10}, fmt.Sprint(i))
	}
	counts := serve(t, l, 330, func(k Key) string { return k.Site })
	if counts["large.example"] < 5 || counts["large.example"] > 20 {
		t.Errorf("a megabyte should count about 32 times a small message: %v", counts)
	}
}

func TestMessagesOfALaneKeepTheirOrder(t *testing.T) {
	l := lanesOf(1, 1)
	push(l, 500, "a.example", "x", prioNormal)
	for i := range 500 {
		r := l.next()
		if want := fmt.Sprintf("a.example/x/%d", i); r.Value != want {
			t.Fatalf("got %s, want %s", r.Value, want)
		}
		r.Done()
	}
}

func TestTakeWaitsForMailAndForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lanesOf(1, 2)
		taken := make(chan *Run[string])
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			for {
				r, err := l.Take(ctx)
				if err != nil {
					done <- err
					return
				}
				taken <- r
			}
		}()
		synctest.Wait()
		push(l, 2, "a.example", "", prioNormal)
		push(l, 1, "b.example", "", prioNormal)
		push(l, 1, "c.example", "", prioNormal)
		first, second := <-taken, <-taken
		synctest.Wait()
		select {
		case r := <-taken:
			t.Fatalf("%s starts though two run", r.Value)
		default:
		}
		first.Done()
		third := <-taken
		second.Done()
		fourth := <-taken
		third.Done()
		fourth.Done()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Take returned %v", err)
		}
		if l.Running() != 0 || l.Waiting() != 0 || len(l.lanes) != 0 {
			t.Errorf("%d running, %d waiting, %d lanes kept", l.Running(), l.Waiting(), len(l.lanes))
		}
	})
}

func TestRemoveTakesOutWhatMatches(t *testing.T) {
	l := lanesOf(2, 10)
	push(l, 3, "a.example", "x", prioNormal)
	push(l, 3, "a.example", "y", prioBulk)
	push(l, 2, "b.example", "x", prioNormal)
	running := l.next()
	removed := l.Remove(func(v string) bool { return v[0] == 'a' })
	if len(removed) != 5 || l.Waiting() != 2 {
		t.Errorf("%d removed, %d left", len(removed), l.Waiting())
	}
	if got := l.Snapshot("a.example"); len(got) != 1 || got[0].Running != 1 || got[0].Waiting != 0 {
		t.Errorf("%+v", got)
	}
	running.Done()
	push(l, 1, "a.example", "x", prioNormal)
	if counts := serve(t, l, 3, func(k Key) string { return k.Site }); counts["a.example"] != 1 {
		t.Errorf("%v", counts)
	}
}

func TestSnapshotShowsTheFullestFirst(t *testing.T) {
	l := lanesOf(3, 10)
	push(l, 2, "a.example", "x", prioNormal)
	push(l, 9, "b.example", "x", prioBulk)
	push(l, 4, "b.example", "", prioUrgent)
	got := l.Snapshot("")
	if len(got) != 3 || got[0].Waiting != 9 || got[0].Key != (Key{"b.example", "x", prioBulk}) || got[2].Waiting != 2 {
		t.Errorf("%+v", got)
	}
	if got[0].Limit != 3 {
		t.Errorf("limit %d", got[0].Limit)
	}
}

func TestLanesAreSafeForConcurrentUse(t *testing.T) {
	l := lanesOf(4, 16)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pushers, takers sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[string]int)
	for i := range 4 {
		takers.Go(func() {
			for {
				r, err := l.Take(ctx)
				if err != nil {
					return
				}
				mu.Lock()
				seen[r.Value]++
				if len(seen) == 4*500 {
					cancel()
				}
				mu.Unlock()
				r.Done()
			}
		})
		pushers.Go(func() {
			for n := range 500 {
				l.Push(Mail{Domain: fmt.Sprintf("d%d.example", n%7), Tenant: fmt.Sprint(n % 3)}, fmt.Sprintf("%d-%d", i, n))
			}
		})
	}
	pushers.Wait()
	takers.Wait()
	for v, n := range seen {
		if n != 1 {
			t.Errorf("%s was handed out %d times", v, n)
		}
	}
}

func BenchmarkPushAndTake(b *testing.B) {
	l := New[int](Limits{PerSite: func(string) int { return 20 }, Total: 1000}, site.New(10000, nil))
	for i := range 10000 {
		l.Push(Mail{Domain: fmt.Sprintf("d%d.example", i%5000), Size: 2048}, i)
	}
	b.ReportAllocs()
	for b.Loop() {
		r := l.next()
		l.Push(Mail{Domain: r.Key.Site, Size: 2048}, r.Value)
		r.Done()
	}
}
