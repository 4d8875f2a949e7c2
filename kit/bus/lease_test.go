// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/testkit/await"
)

func openLeases(tb testing.TB, js jetstream.JetStream, ttl time.Duration) *Leases {
	tb.Helper()
	l, err := OpenLeases(testContext(tb), js, ttl)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func acquire(tb testing.TB, l *Leases, owner string) *Lease {
	tb.Helper()
	x, err := l.Acquire(testContext(tb), 0, owner)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = x.Release(testContext(tb)) })
	return x
}

func isLost(x *Lease) bool {
	select {
	case <-x.Lost():
		return true
	default:
		return false
	}
}

func TestLeaseIsExclusive(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	l := openLeases(t, js, 10*time.Second)
	x := acquire(t, l, "a")
	if !x.Confirmed() || isLost(x) {
		t.Error("a new lease is not confirmed")
	}
	var held *HeldError
	if _, err := l.Acquire(testContext(t), 0, "b"); !errors.As(err, &held) || held.Owner != "a" || held.Name != "0" {
		t.Errorf("got %v, want a HeldError", err)
	}
	if y, err := l.Acquire(testContext(t), 1, "b"); err != nil {
		t.Errorf("another partition: %v", err)
	} else {
		_ = y.Release(testContext(t))
	}
	if y, err := l.AcquireNamed(testContext(t), "dsn", "b"); err != nil {
		t.Errorf("another name: %v", err)
	} else {
		_ = y.Release(testContext(t))
	}
	before := x.Revision()
	if err := x.Renew(testContext(t)); err != nil || x.Revision() <= before {
		t.Errorf("renewed from %d to %d, %v", before, x.Revision(), err)
	}
	if err := x.Release(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if x.Confirmed() || !isLost(x) {
		t.Error("a released lease is confirmed")
	}
	if err := x.Renew(testContext(t)); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("renewing a released lease: %v", err)
	}
	if err := x.Release(testContext(t)); err != nil {
		t.Errorf("releasing twice: %v", err)
	}
	if y := acquire(t, l, "b"); y.Revision() <= before {
		t.Error("the revision did not grow")
	}
}

func TestLeaseByOneOfMany(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	var won atomic.Int32
	var wg sync.WaitGroup
	for _, owner := range []string{"a", "b", "c", "d"} {
		l := openLeases(t, client(t, s), 10*time.Second)
		wg.Go(func() {
			x, err := l.Acquire(testContext(t), 0, owner)
			var held *HeldError
			switch {
			case err == nil:
				won.Add(1)
				t.Cleanup(func() { _ = x.Release(testContext(t)) })
			case !errors.As(err, &held):
				t.Errorf("%s: %v", owner, err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d have the lease", won.Load())
	}
	_ = js
}

func TestLeaseOfADeadOwnerRunsOut(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	l := openLeases(t, js, time.Second)
	nc := s.Connect()
	deadJS, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	dead := acquire(t, openLeases(t, deadJS, time.Second), "dead")
	nc.Close()
	started := time.Now()
	await.Until(t, "another gets it", func() bool {
		x, err := l.Acquire(testContext(t), 0, "heir")
		if err != nil {
			return false
		}
		if dead.Confirmed() {
			t.Error("two have a confirmed lease")
		}
		_ = x.Release(testContext(t))
		return true
	})
	t.Logf("after %v", time.Since(started))
}

// TestLeaseThatTheServerDoesNotRemove: a dead owner's lease stays, as it does when the server's clock was set back, or it
// had no room when the lease came due. Who has seen it unchanged for long enough takes it.
func TestLeaseThatTheServerDoesNotRemove(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	l := openLeases(t, js, time.Second)
	long := &expiring{js: js, bucket: BucketOwners, ttl: "1h"}
	revision, err := long.put(testContext(t), "lease.0", "dead 1", 0)
	if err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if _, err := l.Acquire(testContext(t), 0, "heir"); !errors.As(err, &held) || held.Owner != "dead" {
		t.Errorf("just seen: %v", err)
	}
	age := func(d time.Duration) {
		l.mu.Lock()
		defer l.mu.Unlock()
		s := l.seen["lease.0"]
		s.first = s.first.Add(-d)
		l.seen["lease.0"] = s
	}
	age(time.Hour)
	if _, err := l.Acquire(testContext(t), 0, "heir"); !errors.As(err, &held) {
		t.Errorf("after its time to live: %v", err)
	}
	age(20 * time.Minute)
	if revision, err = long.put(testContext(t), "lease.0", "dead 1", revision); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Acquire(testContext(t), 0, "heir"); !errors.As(err, &held) {
		t.Errorf("it was renewed after all: %v", err)
	}
	age(80 * time.Minute)
	heir, err := l.Acquire(testContext(t), 0, "heir")
	if err != nil {
		t.Fatal(err)
	}
	if !heir.Confirmed() {
		t.Error("the heir's lease is not confirmed")
	}
	_ = heir.Release(testContext(t))
	if _, err := long.put(testContext(t), "lease.0", "dead 1", revision); err == nil {
		t.Error("the dead owner has renewed it")
	}
}

func TestLeaseIsKept(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	l := openLeases(t, js, time.Second)
	x := acquire(t, l, "a")
	first := x.Revision()
	await.Until(t, "seven renewals", func() bool { // more than two times to live
		if !x.Confirmed() {
			t.Fatal("not confirmed in between")
		}
		return x.Revision() >= first+7
	})
	if isLost(x) {
		t.Error("lost")
	}
}

func TestLeaseTakenByTheSameOwner(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	l := openLeases(t, js, 10*time.Second)
	killed := acquire(t, l, "embedded")
	again := acquire(t, l, "embedded") // the process was started again
	if err := killed.Renew(testContext(t)); !errors.Is(err, ErrLeaseLost) || !isLost(killed) || killed.Confirmed() {
		t.Errorf("the former process: %v", err)
	}
	if err := killed.Release(testContext(t)); err != nil {
		t.Errorf("releasing what is lost: %v", err)
	}
	if err := again.Renew(testContext(t)); err != nil {
		t.Errorf("the present process: %v", err)
	}
}

func TestLeaseRenewalWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	l := openLeases(t, js, 30*time.Second)
	x := acquire(t, l, "a")
	before := x.Revision()
	renewed := make(chan error, 1)
	loseAnswers(s, func() {
		go func() { renewed <- x.Renew(testContext(t)) }()
		await.Until(t, "the renewal is stored", func() bool {
			info, err := s.NATS().Jsz(nil)
			return err == nil && info.Messages == 1 && info.API.Total > 0 && lastRevision(t, s.NATS()) > before
		})
	})
	if err := <-renewed; err == nil || errors.Is(err, ErrLeaseLost) {
		t.Errorf("without an answer: %v", err)
	}
	await.Until(t, "the connection is back", func() bool { return js.Conn().IsConnected() })
	if err := x.Renew(testContext(t)); err != nil || x.Revision() != before+2 {
		t.Errorf("the next renewal: %v, revision %d after %d", err, x.Revision(), before)
	}
}

func TestLeaseUnconfirmedWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	l := openLeases(t, js, time.Second)
	x := acquire(t, l, "a")
	s.Stop()
	await.Until(t, "no longer confirmed", func() bool { return !x.Confirmed() })
	if isLost(x) {
		t.Error("lost, though nobody can know")
	}
	s.StartAgain()
	await.Until(t, "lost or confirmed again", func() bool { return isLost(x) || x.Confirmed() })
}

func TestLeaseBadInput(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	if _, err := OpenLeases(testContext(t), js, time.Millisecond); err == nil {
		t.Error("a time to live of a millisecond was accepted")
	}
	l := openLeases(t, js, time.Second)
	if _, err := l.AcquireNamed(testContext(t), "a.*", "owner"); err == nil {
		t.Error("a name with a wildcard was accepted")
	}
	for _, owner := range []string{"", "a b", "a\nb", "a..b", ".a", "a>", "ä"} {
		if _, err := OpenMembers(testContext(t), js, owner, time.Second); owner != "" && err == nil {
			t.Errorf("member %q was accepted", owner)
		}
		if _, err := l.Acquire(testContext(t), 0, owner); err == nil {
			t.Errorf("owner %q was accepted", owner)
		}
	}
	if err := js.DeleteKeyValue(testContext(t), BucketOwners); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLeases(testContext(t), js, time.Second); err == nil {
		t.Error("leases without their bucket")
	}
	_ = s
}
