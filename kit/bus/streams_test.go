// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestEnsureCreatesTheFinalForm(t *testing.T) {
	t.Parallel()
	ts := startServer(t)
	js, ctx := ts.JetStream(), testContext(t)
	layout := Layout{Partitions: 2, Replicas: 1, MaxStore: 1 << 30}
	if err := Ensure(ctx, js, layout); err != nil {
		t.Fatal(err)
	}
	minutes, err := RetryStreams(ctx, js)
	if err != nil || !slices.Equal(minutes, RetryMinutes()) {
		t.Errorf("RETRY streams %v, %v", minutes, err)
	}
	for name, subject := range map[string]string{
		StreamMail: "mail.*", StreamPark: "park.*.*", StreamOutcome: "outcome.*.*", StreamBodies: "body.*.*",
		StreamJoined: "joined.*",
		"RETRY_0":    "retry.0.*", "RETRY_240": "retry.240.*",
	} {
		s, err := js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		c := s.CachedInfo().Config
		if !slices.Equal(c.Subjects, []string{subject}) || c.Storage != jetstream.FileStorage ||
			c.Retention != jetstream.LimitsPolicy || c.Discard != jetstream.DiscardNew ||
			c.Duplicates != DedupeWindow || c.MaxMsgSize != 4<<20 || c.Metadata["postrider.partitions"] != "2" {
			t.Errorf("stream %s: %+v", name, c)
		}
		if want := name == StreamMail; c.AllowAtomicPublish != want || (c.MaxBytes > 0) != want {
			t.Errorf("stream %s: atomic publish %v, limit %d", name, c.AllowAtomicPublish, c.MaxBytes)
		}
	}
	for _, bucket := range []string{"OWNERS", "CHANGES", "SUPPRESSION", "FINGERPRINTS", "POLICIES"} {
		if _, err := js.KeyValue(ctx, bucket); err != nil {
			t.Errorf("bucket %s: %v", bucket, err)
		}
	}
	if err := Ensure(ctx, js, layout); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

func TestEnsureByManyAtOnce(t *testing.T) {
	t.Parallel()
	ts := startServer(t)
	ctx := testContext(t)
	var wg sync.WaitGroup
	for range 4 {
		js := client(t, ts)
		wg.Go(func() {
			if err := Ensure(ctx, js, Layout{Partitions: 1, RetryMinutes: []int{0}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestEnsureRefusesAnotherForm(t *testing.T) {
	t.Parallel()
	layout := Layout{Partitions: 1, RetryMinutes: []int{0}}
	good := layout.stream(StreamMail, "mail.*")
	for _, c := range []struct {
		field, have, want string
		change            func(*jetstream.StreamConfig)
	}{
		{"subjects", "mail.>", "mail.*", func(c *jetstream.StreamConfig) { c.Subjects = []string{"mail.>"} }},
		{"retention", "WorkQueue", "Limits", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }},
		{"partitions", "16", "1", func(c *jetstream.StreamConfig) { c.Metadata["postrider.partitions"] = "16" }},
		{"partitions", "", "1", func(c *jetstream.StreamConfig) { c.Metadata = nil }},
		{"storage", "Memory", "File", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }},
		{"discard policy", "DiscardOld", "DiscardNew", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }},
	} {
		t.Run(c.field+" "+c.have, func(t *testing.T) {
			t.Parallel()
			js, ctx := startServer(t).JetStream(), testContext(t)
			other := good
			other.Metadata = map[string]string{metaPartitions: "1", metaFormat: "1"}
			c.change(&other)
			if _, err := js.CreateStream(ctx, other); err != nil {
				t.Fatal(err)
			}
			err := Ensure(ctx, js, layout)
			var mismatch *MismatchError
			if !errors.As(err, &mismatch) {
				t.Fatalf("got %v, want a MismatchError", err)
			}
			if mismatch.Stream != "MAIL" || mismatch.Field != c.field || mismatch.Have != c.have || mismatch.Want != c.want {
				t.Errorf("got %+v", mismatch)
			}
			for _, word := range []string{"MAIL", c.field, c.have, c.want} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not name %q", err, word)
				}
			}
		})
	}
}

func TestEnsureChangesTheSizeLimitOnly(t *testing.T) {
	t.Parallel()
	_, js := startBus(t, func(l *Layout) { l.MaxStore = 1 << 30 })
	ctx := testContext(t)
	if err := Ensure(ctx, js, Layout{Partitions: 1, RetryMinutes: []int{0}, MaxStore: 2 << 30}); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(ctx, StreamMail)
	if err != nil {
		t.Fatal(err)
	}
	if c := s.CachedInfo().Config; c.MaxBytes != (2<<30)/100*75 || !c.AllowAtomicPublish || c.Metadata[metaPartitions] != "1" {
		t.Errorf("got %+v", c)
	}
}

func TestEnsureRefusesASmallMaxPayload(t *testing.T) {
	t.Parallel()
	ts := startServer(t, func(o *server.Options) { o.MaxPayload = 1 << 20 })
	err := Ensure(testContext(t), ts.JetStream(), Layout{Partitions: 1})
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) || mismatch.Field != "max_payload" || mismatch.Have != "1048576" {
		t.Errorf("got %v, want a MismatchError for max_payload", err)
	}
}

func TestEnsureWaitsForTheServer(t *testing.T) {
	t.Parallel()
	ts := startServer(t)
	js := ts.JetStream()
	ts.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := Ensure(ctx, js, Layout{Partitions: 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a server: %v", err)
	}
	// A process may also be started before its server: then not even the connection was ever there.
	nc := ts.Connect(nats.RetryOnFailedConnect(true))
	early, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- Ensure(testContext(t), early, Layout{Partitions: 1, RetryMinutes: []int{0}}) }()
	go func() { done <- Ensure(testContext(t), js, Layout{Partitions: 1, RetryMinutes: []int{0}}) }()
	ts.StartAgain()
	for range cap(done) {
		if err := <-done; err != nil {
			t.Errorf("once it is there: %v", err)
		}
	}
}

func TestLayoutIsChecked(t *testing.T) {
	t.Parallel()
	for _, l := range []Layout{
		{},
		{Partitions: -1},
		{Partitions: 257},
		{Partitions: 1, Replicas: 6},
		{Partitions: 1, Replicas: -1},
		{Partitions: 1, MaxStore: -1},
		{Partitions: 1, RetryMinutes: []int{-5}},
	} {
		if err := Ensure(t.Context(), nil, l); err == nil {
			t.Errorf("%+v was accepted", l)
		}
	}
}

func TestLastSequences(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	ctx := testContext(t)
	last, err := LastSequences(ctx, js, StreamOutcome)
	if err != nil || last.Sequence != 0 || len(last.Subjects) != 0 {
		t.Fatalf("empty stream: %+v, %v", last, err)
	}
	for _, subject := range []string{"outcome.quiet.0", "outcome.notice.0", "outcome.quiet.0", "outcome.quiet.0"} {
		if _, err := js.Publish(ctx, subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	last, err = LastSequences(ctx, js, StreamOutcome)
	if err != nil || last.Sequence != 4 || last.First != 1 || last.Subjects["outcome.quiet.0"] != 4 ||
		last.Subjects["outcome.notice.0"] != 2 || last.Time.IsZero() || last.Bytes == 0 {
		t.Errorf("got %+v, %v", last, err)
	}
	if _, err := LastSequences(ctx, js, "RETRY_7"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a stream that does not exist: %v", err)
	}
}
