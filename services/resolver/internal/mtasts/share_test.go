// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/testkit/bustest"
)

func bucket(t *testing.T, js jetstream.JetStream) jetstream.KeyValue {
	t.Helper()
	if err := bus.Ensure(t.Context(), js, bus.Layout{Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), bus.BucketPolicies)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// replica is a memory kept alike by a Sharing that runs until the end of the test.
func replica(t *testing.T, js jetstream.JetStream) (*Memory, *Sharing) {
	t.Helper()
	m := NewMemory(100)
	s := NewSharing(js, m, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	known, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx, func() { close(known) })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	<-known
	return m, s
}

func entry(id string, fetched time.Time) *Entry {
	return &Entry{ID: id, Fetched: fetched, Policy: Policy{Mode: Enforce, MX: []string{"mx.test"}, MaxAge: 24 * time.Hour}}
}

// await waits until a condition on a memory holds, woken by changes of the bucket.
func await(t *testing.T, kv jetstream.KeyValue, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
		if _, err := kv.Status(t.Context()); err != nil { // a round trip to the server
			t.Fatal(err)
		}
	}
}

func TestReplicasKnowTheSame(t *testing.T) {
	js := bustest.Start(t).JetStream()
	kv := bucket(t, js)
	now := time.Now()
	one, shareOne := replica(t, js)
	two, _ := replica(t, js)
	if !one.Put("example.test", entry("1", now)) {
		t.Fatal("not kept")
	}
	shareOne.Share("example.test", one.Get("example.test", now))
	await(t, kv, "the other replica", func() bool { return two.Get("example.test", now) != nil })
	if got := two.Get("example.test", now); got.ID != "1" || !got.Policy.Allows("mx.test") || !got.Fetched.Equal(now) {
		t.Errorf("%+v", got)
	}
	// One that starts later knows it before it is ready.
	three, _ := replica(t, js)
	if three.Get("example.test", now) == nil {
		t.Error("a replica that starts later does not know it")
	}
	// An older one does not replace a newer.
	if three.Put("example.test", entry("0", now.Add(-time.Hour))) || three.Get("example.test", now).ID != "1" {
		t.Error("replaced by an older one")
	}
}

func TestWhatIsOverIsRemoved(t *testing.T) {
	js := bustest.Start(t).JetStream()
	kv := bucket(t, js)
	old, err := json.Marshal(entry("1", time.Now().Add(-25*time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string][]byte{"old.test": old, "broken.test": []byte("{")} {
		if _, err := kv.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	m, _ := replica(t, js)
	if m.Len() != 0 {
		t.Errorf("%d policies taken", m.Len())
	}
	await(t, kv, "purge", func() bool {
		keys, err := kv.Keys(t.Context())
		return err != nil && len(keys) == 0
	})
}

// Without the bucket the service becomes ready all the same, and shares once the bucket is there.
func TestBucketComesLater(t *testing.T) {
	js := bustest.Start(t).JetStream()
	m, s := replica(t, js)
	now := time.Now()
	m.Put("example.test", entry("1", now))
	s.Share("example.test", m.Get("example.test", now))
	kv := bucket(t, js)
	await(t, kv, "written", func() bool {
		_, err := kv.Get(t.Context(), "example.test")
		return err == nil
	})
}
