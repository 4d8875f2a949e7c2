// SPDX-License-Identifier: Apache-2.0

package room

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.LeakOptions()...) }

// bench is a gauge whose measurements a test sets.
type bench struct {
	*Gauge
	now     time.Time
	backlog int64
	stored  int64
	disk    int
	err     error
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{now: time.Unix(1000, 0)}
	b.Gauge = New(Options{
		Backlog: func(context.Context) (Use, error) { return Use{Waiting: b.backlog, Stored: b.stored}, b.err },
		Disk:    func() (int, error) { return b.disk, nil },
		Limit:   1000, Store: 2000, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return b.now },
	})
	return b
}

func (b *bench) look(t *testing.T) {
	t.Helper()
	if err := b.Look(t.Context()); (err != nil) != (b.err != nil) {
		t.Fatal(err)
	}
}

func (b *bench) take(t *testing.T, bytes int64) {
	t.Helper()
	if err := b.Take(false, bytes); err != nil {
		t.Fatal(err)
	}
}

func code(err error) codes.Code {
	if e := rpc.FromError(err); e != nil {
		return e.Code
	}
	return codes.OK
}

func TestG13_Limits(t *testing.T) {
	cases := []struct {
		name               string
		backlog            int64
		stored             int64
		disk               int
		mail, notification codes.Code
	}{
		{"empty", 0, 0, 0, codes.OK, codes.OK},
		{"just below", 999, 1699, 89, codes.OK, codes.OK},
		{"at the limit", 1000, 1000, 0, codes.ResourceExhausted, codes.OK},
		{"at the limit of notifications", 1250, 1250, 0, codes.ResourceExhausted, codes.ResourceExhausted},
		{"the store", 0, 1700, 0, codes.ResourceExhausted, codes.OK},
		{"the store, for notifications", 0, 1940, 0, codes.ResourceExhausted, codes.ResourceExhausted},
		{"disk", 0, 0, 90, codes.ResourceExhausted, codes.ResourceExhausted},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.backlog, b.stored, b.disk = tc.backlog, tc.stored, tc.disk
			b.look(t)
			if got := code(b.Check(false)); got != tc.mail {
				t.Errorf("mail: %v", got)
			}
			if got := code(b.Check(true)); got != tc.notification {
				t.Errorf("notification: %v", got)
			}
		})
	}
}

func TestG13_WhatIsAcceptedBetweenLooksCounts(t *testing.T) {
	b := newBench(t)
	b.look(t)
	b.take(t, 600)
	if err := b.Check(false); err != nil {
		t.Errorf("600 of 1000: %v", err)
	}
	if got := code(b.Take(false, 401)); got != codes.ResourceExhausted {
		t.Errorf("401 more: %v", got)
	}
	b.take(t, 400)
	if err := b.Take(true, 250); err != nil {
		t.Errorf("250 more for a notification: %v", err)
	}
	if got := code(b.Check(false)); got != codes.ResourceExhausted {
		t.Errorf("1000 of 1000: %v", got)
	}
	b.backlog = 1000
	b.look(t)
	if got := code(b.Check(false)); got != codes.ResourceExhausted {
		t.Errorf("after the look: %v", got)
	}
	b.backlog = 900
	b.look(t)
	if err := b.Check(false); err != nil {
		t.Errorf("what was counted before the look counts twice: %v", err)
	}
}

// TestG13_CallsAtOnceShareTheRoom: those that were let in together do not overrun the limit, however large they are.
func TestG13_CallsAtOnceShareTheRoom(t *testing.T) {
	b := newBench(t)
	b.look(t)
	var taken atomic.Int64
	var callers sync.WaitGroup
	for range 50 {
		if err := b.Check(false); err != nil {
			t.Fatal(err)
		}
		callers.Go(func() {
			if b.Take(false, 90) == nil {
				taken.Add(90)
			}
		})
	}
	callers.Wait()
	if got := taken.Load(); got != 990 {
		t.Errorf("%d bytes were taken of 1000", got)
	}
}

func TestG13_UnknownOrStaleIsAway(t *testing.T) {
	b := newBench(t)
	if got := code(b.Check(false)); got != codes.Unavailable {
		t.Errorf("before the first look: %v", got)
	}
	b.look(t)
	b.err = errors.New("away")
	b.now = b.now.Add(5 * time.Second)
	b.look(t)
	if err := b.Check(false); err != nil {
		t.Errorf("one look failed: %v", err)
	}
	b.now = b.now.Add(6 * time.Second)
	b.look(t)
	if got := code(b.Check(false)); got != codes.Unavailable {
		t.Errorf("not known for 11 s: %v", got)
	}
	b.err = nil
	b.look(t)
	if err := b.Check(false); err != nil {
		t.Errorf("back again: %v", err)
	}
}

// put appends segments of about a KiB each to a subject.
func put(t *testing.T, js jetstream.JetStream, subject string, n int, header func(nats.Header)) {
	t.Helper()
	a := bus.NewAppender(js, bus.AppenderOptions{Subjects: []string{subject}, Header: header})
	defer func() { _ = a.Close(context.Background()) }()
	for range n {
		f, err := bus.FrameMail(&eventv1.QueuedMail{MessageId: "m"}, []byte(strings.Repeat("x", 1000)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Append(t.Context(), []bus.Frame{f}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBacklogIsWhatLiesAboveTheFloors(t *testing.T) {
	s := bustest.StartWith(t, bustest.Options{Configure: func(o *server.Options) { o.MaxPayload = bus.MaxPayload }})
	js := s.JetStream()
	if err := bus.Ensure(t.Context(), js, bus.Layout{Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	stored, all := int64(0), int64(0)
	measure := func(enough int64) int64 {
		t.Helper()
		use, err := Streams(js, 2, func(context.Context) (int64, error) { return stored, nil }, enough)(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = use.Stored
		return use.Waiting
	}
	about := func(what string, got, want int64) {
		t.Helper()
		if got < want || got > want+want/2 {
			t.Errorf("%s: %d bytes, want about %d", what, got, want)
		}
	}
	about("empty", measure(0), 0)
	put(t, js, bus.MailSubject(0), 5, nil)
	put(t, js, bus.MailSubject(1), 5, nil)
	put(t, js, bus.RetrySubject(5, 1), 4, nil)
	put(t, js, bus.ParkSubject(0, "example.com"), 3, nil)
	about("17 segments", measure(0), 17_000)
	stored = 50_000
	about("with bodies", measure(0), 67_000)
	stored = 0
	for partition, floor := range []uint64{9, 7} {
		put(t, js, bus.OutcomeSubject(bus.Quiet, partition), 1, func(h nats.Header) {
			if err := bus.SetCheckpoint(h, &eventv1.Checkpoint{Floors: []*eventv1.Floor{
				{Stream: bus.StreamMail, Sequence: floor}, {Stream: bus.RetryStream(5), Sequence: 5},
			}}); err != nil {
				t.Error(err)
			}
		})
	}
	about("MAIL from 7 on, RETRY_5 settled, PARK whole", measure(0), 7_000)
	about("floors are not asked for while there is room", measure(1_000_000), 17_000)
	about("with outcomes, and without bodies", all, 17_400)
}
