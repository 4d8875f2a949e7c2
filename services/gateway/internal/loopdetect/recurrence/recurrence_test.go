// SPDX-License-Identifier: Apache-2.0

package recurrence

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect/fingerprint"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.LeakOptions()...) }

const limit = 5

// clock is a clock that a test moves.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(time.Date(2026, 11, 2, 9, 30, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time           { return time.Unix(0, c.at.Load()) }
func (c *clock) pass(d time.Duration)     { c.at.Add(int64(d)) }
func printOf(n int) (p fingerprint.Print) { binary.BigEndian.PutUint64(p[:], uint64(n)); return p }

// gateways returns counters over one real store.
func gateways(t *testing.T, n int, c *clock) []*Counter {
	t.Helper()
	server := bustest.Start(t)
	if err := bus.Ensure(t.Context(), server.JetStream(), bus.Layout{Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	list := make([]*Counter, n)
	for i := range list {
		keys, err := bus.OpenSharedKeys(t.Context(), server.JetStream(), Window)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = New(keys, limit, c.now)
	}
	return list
}

func TestL10_TwoGatewaysCountResponsesAsOne(t *testing.T) {
	c := newClock()
	g := gateways(t, 2, c)
	for i := 1; i <= 8; i++ {
		got := g[i%2].Response(t.Context(), printOf(1), fmt.Sprint("m", i))
		if want := min(i, limit+1); got.Times != want || got.Unshared != nil {
			t.Errorf("arrival %d: %+v, want %d", i, got, want)
		}
		c.pass(time.Second)
	}
	if got := g[0].Response(t.Context(), printOf(2), "other"); got.Times != 1 {
		t.Errorf("another print: %+v", got)
	}
	fresh := New(g[0].store, limit, c.now) // a gateway that was started again
	if got := fresh.Response(t.Context(), printOf(1), "m9"); got.Times != limit+1 {
		t.Errorf("behind a restart: %+v", got)
	}
}

// TestL10_ManyAtOnce: whatever the order, two gateways together let pass as many as one would.
func TestL10_ManyAtOnce(t *testing.T) {
	g := gateways(t, 2, newClock())
	var within atomic.Int32
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if got := g[i%2].Response(t.Context(), printOf(7), fmt.Sprint(i)); got.Unshared != nil {
				t.Error(got.Unshared)
			} else if got.Times <= limit {
				within.Add(1)
			}
		})
	}
	wg.Wait()
	if within.Load() != limit {
		t.Errorf("%d passed, want %d", within.Load(), limit)
	}
}

func TestL06_ResponsesCountForAnHour(t *testing.T) {
	c := newClock()
	g := gateways(t, 1, c)[0]
	times := func(id string) int { return g.Response(t.Context(), printOf(1), id).Times }
	for i := range limit {
		times(fmt.Sprint(i))
		c.pass(10 * time.Minute)
	}
	c.pass(9*time.Minute + 59*time.Second) // the first is 59 min 59 s old
	if got := times("a"); got != limit+1 {
		t.Errorf("%d within the hour", got)
	}
	c.pass(2 * time.Second) // now it is over an hour old
	if got := times("b"); got != limit+1 {
		t.Errorf("%d with the one that was refused", got)
	}
	c.pass(Window + time.Second)
	if got := times("c"); got != 1 {
		t.Errorf("%d after an hour", got)
	}
	c.pass(-2 * time.Hour) // a clock set back takes nothing away
	if got := times("d"); got != 2 {
		t.Errorf("%d with the clock set back", got)
	}
}

// TestL07_ALoopIsNotForgottenWhileItGoesOn: what is refused counts too, so that a loop does not pass five times an hour.
func TestL07_ALoopIsNotForgottenWhileItGoesOn(t *testing.T) {
	c := newClock()
	g := gateways(t, 1, c)[0]
	passed := 0
	for i := range 200 {
		if g.Response(t.Context(), printOf(1), fmt.Sprint(i)).Times <= limit {
			passed++
		}
		c.pass(2 * time.Minute)
	}
	if passed != limit {
		t.Errorf("%d of 200 in 400 minutes passed", passed)
	}
}

func TestL07_ForgottenResponsesDoNotCount(t *testing.T) {
	g := gateways(t, 2, newClock())
	for i := range 20 {
		id := fmt.Sprint(i)
		if got := g[i%2].Response(t.Context(), printOf(1), id); got.Times != 1 {
			t.Fatalf("try %d: %+v", i, got)
		}
		g[i%2].Forget(t.Context(), printOf(1), id)
	}
	g[0].Forget(t.Context(), printOf(99), "never came")
}

// away is a store that cannot be reached.
type away struct{ asked atomic.Int32 }

var errAway = errors.New("away")

func (a *away) Get(context.Context, string) ([]byte, uint64, error) {
	a.asked.Add(1)
	return nil, 0, errAway
}

func (a *away) Put(context.Context, string, []byte, uint64) (bool, error) {
	a.asked.Add(1)
	return false, errAway
}

func TestL10_WithTheStoreAwayTheOwnCountHolds(t *testing.T) {
	g := New(new(away), limit, newClock().now)
	for i := 1; i <= limit+2; i++ {
		got := g.Response(t.Context(), printOf(1), fmt.Sprint(i))
		if got.Times != i || !errors.Is(got.Unshared, errAway) {
			t.Errorf("arrival %d: %+v", i, got)
		}
	}
}

// slow is a store that does not answer.
type slow struct{}

func (slow) Get(ctx context.Context, _ string) ([]byte, uint64, error) {
	<-ctx.Done()
	return nil, 0, ctx.Err()
}

func (slow) Put(ctx context.Context, _ string, _ []byte, _ uint64) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

func TestL10_AStoreThatDoesNotAnswerIsNotWaitedFor(t *testing.T) {
	g := New(slow{}, limit, newClock().now)
	if got := g.Response(t.Context(), printOf(1), "1"); got.Times != 1 || !errors.Is(got.Unshared, context.DeadlineExceeded) {
		t.Errorf("%+v", got)
	}
}

// damaged holds what nobody wrote.
type damaged struct{ wrote bool }

func (*damaged) Get(context.Context, string) ([]byte, uint64, error) {
	return []byte{0xff, 0xff}, 7, nil
}

func (d *damaged) Put(_ context.Context, _ string, _ []byte, revision uint64) (bool, error) {
	d.wrote = revision == 7
	return d.wrote, nil
}

func TestDamagedValueIsCountedAnew(t *testing.T) {
	d := new(damaged)
	if got := New(d, limit, newClock().now).Response(t.Context(), printOf(1), "1"); got.Times != 1 || !d.wrote {
		t.Errorf("%+v, written %v", got, d.wrote)
	}
}

func TestL07_OrdinaryMessagesAskNobodyAndAreToldOnce(t *testing.T) {
	store, c := new(away), newClock()
	g := New(store, limit, c.now)
	told := 0
	for i := 1; i <= 120; i++ {
		times, tell := g.Ordinary(printOf(1), 50)
		if times != i {
			t.Fatalf("%d at arrival %d", times, i)
		}
		if tell {
			told++
			if i%50 != 0 {
				t.Errorf("told at arrival %d", i)
			}
		}
		c.pass(time.Second)
	}
	if told != 2 || store.asked.Load() != 0 {
		t.Errorf("told %d times, the store was asked %d times", told, store.asked.Load())
	}
	c.pass(Window)
	if times, _ := g.Ordinary(printOf(1), 50); times != 1 {
		t.Errorf("%d after an hour", times)
	}
}

func TestL10_OrdinaryMessagesOfTwoGatewaysAddUp(t *testing.T) {
	c := newClock()
	g := gateways(t, 2, c)
	tells := 0
	arrive := func(at *Counter, n int) (times int) {
		for range n {
			var tell bool
			if times, tell = at.Ordinary(printOf(1), 50); tell {
				tells++
			}
		}
		return times
	}
	arrive(g[0], 30)
	arrive(g[1], 15)
	for _, one := range g { // what Run does every two seconds
		if err := one.share(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if times := arrive(g[1], 4); times != 49 || tells != 0 {
		t.Errorf("%d after 49 arrivals, told %d times", times, tells)
	}
	if times := arrive(g[1], 1); times != 50 || tells != 1 {
		t.Errorf("%d after 50 arrivals, told %d times", times, tells)
	}
	if err := g[1].share(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g[0].share(t.Context()); err != nil { // nothing new to say; what the others had is asked with the next
		t.Fatal(err)
	}
	arrive(g[0], 1)
	if err := g[0].share(t.Context()); err != nil {
		t.Fatal(err)
	}
	if times := arrive(g[0], 1); times != 52 {
		t.Errorf("%d at the other gateway after 52 arrivals", times)
	}
}

func TestL06_TheTableIsBounded(t *testing.T) {
	const most = 1000
	c := newClock()
	table := newTable(most)
	for i := range 10 * most {
		table.add(printOf(i), c.now(), 1)
		table.add(printOf(-1), c.now(), 1) // comes all the time
		if n := table.size(); n > most {
			t.Fatalf("%d prints after %d", n, i)
		}
	}
	if got := table.add(printOf(-1), c.now(), 0); got != 10*most {
		t.Errorf("what comes all the time was counted %d times", got)
	}
	c.pass(2 * Window)
	table.add(printOf(1), c.now(), 1)
	c.pass(2 * Window)
	table.add(printOf(2), c.now(), 1)
	if n := table.size(); n > 2 {
		t.Errorf("%d prints are left of hours ago", n)
	}
	if got := New(new(away), limit, c.now).own.most; got != 500_000 {
		t.Errorf("a generation of %d", got)
	}
}
