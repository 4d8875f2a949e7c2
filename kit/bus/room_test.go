// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// TestEnsureAtOnceWithLittleRoom: MAIL reserves most of the store, and the server counts what is just being made. None
// of those that ask at the same time may take that for a store without room.
func TestEnsureAtOnceWithLittleRoom(t *testing.T) {
	t.Parallel()
	const room = 64 << 20
	for range 5 {
		ts := startServer(t, func(o *server.Options) { o.JetStreamMaxStore = room })
		ctx := testContext(t)
		var clients []jetstream.JetStream
		for range 6 {
			clients = append(clients, client(t, ts))
		}
		var all sync.WaitGroup
		for _, js := range clients {
			all.Go(func() {
				if err := Ensure(ctx, js, Layout{Partitions: 1, RetryMinutes: []int{0}, MaxStore: room}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}

func TestEnsureSaysThatTheStoreIsTooSmall(t *testing.T) {
	t.Parallel()
	ts := startServer(t, func(o *server.Options) { o.JetStreamMaxStore = 64 << 20 })
	js, ctx := ts.JetStream(), testContext(t)
	want := []string{"nats.max_store (1GiB) is more than the server allows", "stream MAIL", "max_file_store"}
	began := time.Now()
	wantAdvice(t, Ensure(ctx, js, Layout{Partitions: 1, RetryMinutes: []int{0}, MaxStore: 1 << 30}), "max_file_store", want...)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("known only after %s", took)
	}
	// A store that was made small enough and is to grow now.
	if err := Ensure(ctx, js, Layout{Partitions: 1, RetryMinutes: []int{0}, MaxStore: 32 << 20}); err != nil {
		t.Fatal(err)
	}
	wantAdvice(t, Ensure(ctx, js, Layout{Partitions: 1, RetryMinutes: []int{0}, MaxStore: 1 << 30}), "max_file_store", want...)
}

// TestEnsureNamesTheLimitOfTheAccount: that one the server tells.
func TestEnsureNamesTheLimitOfTheAccount(t *testing.T) {
	t.Parallel()
	ts := startServer(t, func(o *server.Options) { o.JetStreamMaxStore = 1 << 30 })
	account := ts.NATS().GlobalAccount()
	limits := map[string]server.JetStreamAccountLimits{"": {
		MaxMemory: -1, MaxStore: 64 << 20, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1,
	}}
	if err := account.UpdateJetStreamLimits(limits); err != nil {
		t.Fatal(err)
	}
	err := Ensure(testContext(t), ts.JetStream(), Layout{Partitions: 1, RetryMinutes: []int{0}, MaxStore: 1 << 30})
	wantAdvice(t, err, "max_file_store", "nats.max_store (1GiB) is more than the server allows (64MiB)")
}

func TestEnsureSaysWhatToSetForASmallMaxPayload(t *testing.T) {
	t.Parallel()
	ts := startServer(t, func(o *server.Options) { o.MaxPayload = 1 << 20 })
	wantAdvice(t, Ensure(testContext(t), ts.JetStream(), Layout{Partitions: 1}), "max_payload",
		"the NATS server takes messages of 1048576 bytes at most; set max_payload to 8MB (see deploy/nats/nats.conf)")
}

// wantAdvice checks for a *MismatchError of the server, which services do not try again, and for parts of its text.
func wantAdvice(t *testing.T, err error, field string, parts ...string) {
	t.Helper()
	mismatch, ok := errors.AsType[*MismatchError](err)
	if !ok || mismatch.Stream != "(server)" || mismatch.Field != field {
		t.Fatalf("got %v, want a MismatchError for %s", err, field)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "mail may lie in it") {
		t.Errorf("%q speaks of a stream that exists", err)
	}
}
