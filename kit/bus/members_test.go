// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/testkit/await"
)

func openMembers(tb testing.TB, js jetstream.JetStream, owner string, ttl time.Duration) *Members {
	tb.Helper()
	m, err := OpenMembers(testContext(tb), js, owner, ttl)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(m.stop)
	return m
}

func eventuallyLive(tb testing.TB, m *Members, want ...string) {
	tb.Helper()
	await.Until(tb, fmt.Sprintf("live is %v", want), func() bool { return slices.Equal(m.Live(), want) })
}

func TestMembersSeeEachOther(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	a := openMembers(t, js, "a", 10*time.Second)
	eventuallyLive(t, a, "a")
	watcher := openMembers(t, client(t, s), "", 10*time.Second)
	eventuallyLive(t, watcher, "a")
	<-watcher.Changed()
	b := openMembers(t, client(t, s), "host-2.example", 10*time.Second)
	eventuallyLive(t, a, "a", "host-2.example")
	eventuallyLive(t, b, "a", "host-2.example")
	<-watcher.Changed()
	eventuallyLive(t, watcher, "a", "host-2.example")
	if err := b.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	eventuallyLive(t, a, "a")
	if got := a.Prefers(3); got != "a" {
		t.Errorf("first for partition 3 is %q", got)
	}
	if err := watcher.Close(testContext(t)); err != nil {
		t.Error(err)
	}
}

func TestMemberThatDiedIsForgotten(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	a := openMembers(t, js, "a", time.Second)
	dead := openMembers(t, client(t, s), "dead", time.Second)
	eventuallyLive(t, a, "a", "dead")
	dead.stop()
	eventuallyLive(t, a, "a")
}

// TestMemberThatTheServerDoesNotRemove: its key stays, and nobody writes it any more.
func TestMemberThatTheServerDoesNotRemove(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	a := openMembers(t, js, "a", time.Second)
	watcher := openMembers(t, client(t, s), "", time.Second)
	if _, err := (&expiring{js: js, bucket: BucketOwners, ttl: "1h"}).put(testContext(t), memberPrefix+"dead", "dead", 0); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Members{a, watcher} {
		eventuallyLive(t, m, "a", "dead")
		now := time.Now()
		if m.silent(now.Add(time.Hour), false); !slices.Contains(m.Live(), "dead") {
			t.Error("taken off the list when its time to live was over, and not a quarter more")
		}
		if m.silent(now.Add(80*time.Minute), true); !slices.Contains(m.Live(), "dead") {
			t.Error("taken off the list by one who could not hear it")
		}
		if !m.silent(now.Add(160*time.Minute), false) || slices.Contains(m.Live(), "dead") {
			t.Errorf("still on the list: %v", m.Live())
		}
	}
	eventuallyLive(t, a, "a")
	eventuallyLive(t, watcher, "a")
}

func TestMembersOverARestart(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	a := openMembers(t, js, "a", 2*time.Second)
	b := openMembers(t, client(t, s), "b", 2*time.Second)
	eventuallyLive(t, a, "a", "b")
	s.Crash()
	if err := b.Close(retryContext(t, b.keys.js)); err != nil {
		t.Fatal(err)
	}
	eventuallyLive(t, a, "a")
}

// retryContext waits until the server answers again.
func retryContext(tb testing.TB, js jetstream.JetStream) context.Context {
	tb.Helper()
	await.Until(tb, "the server answers", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := js.AccountInfo(ctx)
		return err == nil
	})
	return testContext(tb)
}

func TestPreferredMovesOnlyWhatItMust(t *testing.T) {
	t.Parallel()
	if got := Preferred(nil, 0); got != "" {
		t.Errorf("without owners: %q", got)
	}
	owners := []string{"a", "b", "c", "d"}
	const partitions = 256
	count := make(map[string]int)
	for p := range partitions {
		first := Preferred(owners, p)
		count[first]++
		reversed := slices.Clone(owners)
		slices.Reverse(reversed)
		if Preferred(reversed, p) != first {
			t.Fatalf("partition %d depends on the order of the owners", p)
		}
		without := slices.DeleteFunc(slices.Clone(owners), func(o string) bool { return o == "b" })
		if after := Preferred(without, p); first != "b" && after != first {
			t.Errorf("partition %d moved from %s to %s when b left", p, first, after)
		}
	}
	for _, o := range owners {
		if n := count[o]; n < partitions/8 || n > partitions/2 {
			t.Errorf("%s has %d of %d partitions", o, n, partitions)
		}
	}
	// Binaries of all versions must agree.
	if got := []string{Preferred(owners, 0), Preferred(owners, 1), Preferred(owners, 2), Preferred(owners, 3)}; !slices.Equal(got, []string{"c", "a", "b", "a"}) {
		t.Errorf("partitions 0 to 3 go to %v", got)
	}
}
