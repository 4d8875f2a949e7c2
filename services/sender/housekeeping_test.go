// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/destination"
	"github.com/postrider/postrider/testkit/bustest"
)

// openQueue returns a queue that is open and does not run.
func openQueue(t *testing.T, change func(*runner.Env)) *queue {
	t.Helper()
	srv := bustest.Start(t)
	env := runner.Env{
		NATSConfig: config.DefaultNATS(), Queue: config.DefaultQueue(), NATS: srv.Conn(),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Dial: func(_ context.Context, target string, o rpc.ClientOptions) (*grpc.ClientConn, error) {
			return rpc.Dial(target, o)
		},
		Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(),
	}
	env.NATSConfig.DataDir = t.TempDir()
	if change != nil {
		change(&env)
	}
	built, err := New(t.Context(), Default(), env)
	if err != nil {
		t.Fatal(err)
	}
	q := &queue{service: built.(*service), js: srv.JetStream()}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	if err := q.open(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = q.members.Close(ctx)
		_ = q.resolver.Close()
	})
	return q
}

func TestOutcomesAreTrimmedOnlyAsFarAsNotificationsHaveCome(t *testing.T) {
	q := openQueue(t, func(e *runner.Env) { e.NATSConfig.OutcomeBytes = config.MiB })
	ctx := t.Context()
	publish := func(checkpoint *eventv1.Checkpoint, size int) {
		t.Helper()
		f, err := bus.FrameOutcome(&eventv1.Outcome{Id: "x"}, make([]byte, size))
		if err != nil {
			t.Fatal(err)
		}
		h, data := bus.EncodeSegment([]bus.Frame{f})
		if checkpoint != nil {
			if err := bus.SetCheckpoint(h, checkpoint); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := q.js.PublishMsg(ctx, &nats.Msg{Subject: bus.OutcomeSubject(bus.Quiet, 0), Header: h, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		publish(nil, 300<<10)
	}
	publish(&eventv1.Checkpoint{Fold: []*eventv1.Floor{{Stream: bus.StreamOutcome, Sequence: 11}}}, 10)
	first := func() uint64 {
		last, err := bus.LastSequences(ctx, q.js, bus.StreamOutcome)
		if err != nil {
			t.Fatal(err)
		}
		return last.First
	}
	if err := q.trim(ctx); err != nil || first() != 1 {
		t.Errorf("trimmed to %d without a notification service, %v", first(), err)
	}
	cursors, err := bus.OpenCursors(ctx, q.js)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cursors.Advance(ctx, bus.Cursor{}, 4); err != nil {
		t.Fatal(err)
	}
	if err := q.trim(ctx); err != nil || first() != 5 {
		t.Errorf("first kept is %d, %v; notifications have passed 4", first(), err)
	}
}

func TestAFullStoreIsPurgedSooner(t *testing.T) {
	q := openQueue(t, nil)
	used := 0
	q.disk = func() (int, error) { return used, nil }
	stand := func() time.Duration {
		t.Helper()
		d, err := q.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if got := stand(); got != bus.PurgeStand {
		t.Errorf("with an empty store segments stand for %s", got)
	}
	for percent, want := range map[int]time.Duration{70: bus.PurgeStand, 71: bus.ShortStand} {
		used = percent
		if got := stand(); got != want {
			t.Errorf("on a disk that is %d %% full segments stand for %s", percent, got)
		}
	}
	used = 0
	q.env.NATSConfig.MaxStore = 1
	if got := stand(); got != bus.ShortStand {
		t.Errorf("with a full store segments stand for %s", got)
	}
	q.disk = func() (int, error) { return 0, errors.New("no disk") }
	if _, err := q.look(t.Context()); err == nil {
		t.Error("a disk that cannot be asked is no error")
	}
}

// TestNothingIsAttemptedWhileOutcomesFillTheStore: with dsn away outcomes cannot be trimmed, and each attempt adds one.
func TestNothingIsAttemptedWhileOutcomesFillTheStore(t *testing.T) {
	q := openQueue(t, func(e *runner.Env) { e.NATSConfig.OutcomeBytes = config.MiB })
	waits := func() bool {
		t.Helper()
		if _, err := q.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return q.space.wait(ctx) != nil
	}
	q.env.NATSConfig.MaxStore = 2 * config.MiB
	if waits() {
		t.Error("with an empty store attempts wait")
	}
	put := func(subject string) {
		t.Helper()
		h, data := bus.EncodeSegment(nil)
		if _, err := q.js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: h, Data: make([]byte, 990<<10+len(data))}); err != nil {
			t.Fatal(err)
		}
	}
	put(bus.MailSubject(0))
	put(bus.MailSubject(0))
	if waits() {
		t.Error("with a store full of mail attempts wait, though only they make room")
	}
	put(bus.OutcomeSubject(bus.Quiet, 0))
	put(bus.OutcomeSubject(bus.Quiet, 0))
	if !waits() {
		t.Error("with a store full of outcomes attempts go on")
	}
	waiting := make(chan error, 1)
	go func() { waiting <- q.space.wait(t.Context()) }()
	if err := bus.Purge(t.Context(), q.js, bus.StreamOutcome, 2); err != nil {
		t.Fatal(err)
	}
	if waits() {
		t.Error("attempts wait when outcomes were trimmed")
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
}

func TestHousekeepingGoesOnBesideTheQueue(t *testing.T) {
	q := openQueue(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	done := make(chan struct{})
	go func() { defer close(done); q.run(ctx, func() { close(ready) }) }()
	<-ready
	if q.senders.count() != 1 {
		t.Errorf("%d senders", q.senders.count())
	}
	cancel()
	<-done
	if n := len(q.keeper.Owned()); n != 0 {
		t.Errorf("%d partitions are kept at the end", n)
	}
}

func TestConnectionsAreSharedByTheSendersThereAre(t *testing.T) {
	q := openQueue(t, nil)
	for senders, want := range map[int64]int{0: 20, 1: 20, 2: 10, 3: 7, 40: 1} {
		q.senders.n.Store(senders)
		if got := q.share(20); got != want {
			t.Errorf("%d senders: %d connections each, want %d", senders, got, want)
		}
	}
}

// An entry of sender.destinations may name a site; one that limits a domain sets its lanes apart.
func TestLimitsOfSites(t *testing.T) {
	q := openQueue(t, nil)
	list := destination.List{
		{Match: "mx1.test,mx2.test", Connections: 3},
		{Match: "apart.example", Connections: 2},
		{Match: "large.example", MaxSize: 1},
		{Match: "*.mx2.test", Connections: 9},
		{Match: "*", Connections: 7},
	}
	if err := list.Validate(); err != nil {
		t.Fatal(err)
	}
	q.destinations = list.Table()
	for name, want := range map[string]int{
		"mx1.test,mx2.test": 3, "apart.example": 2, "other.example": 7, "a.mx2.test": 9, "mx1.test,a.mx2.test": 7,
	} {
		if got := q.limits(name).Connections; got != want {
			t.Errorf("%s: %d connections, want %d", name, got, want)
		}
	}
	if !q.apart("apart.example") || q.apart("large.example") || q.apart("other.example") {
		t.Error("a domain is set apart by its own limits, and by nothing else")
	}
}

func TestOwnersHaveNamesOfTheirOwnOutsideTheAllInOne(t *testing.T) {
	q := openQueue(t, nil)
	if a, b := q.owner(), q.owner(); a != b {
		t.Errorf("with the embedded server a restart has another name: %s, %s", a, b)
	}
	q.env.NATSConfig.URL = "nats://localhost:4222"
	if a, b := q.owner(), q.owner(); a == b {
		t.Errorf("two processes share the name %s", a)
	}
}
