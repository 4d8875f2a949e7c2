// SPDX-License-Identifier: Apache-2.0

package join

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.LeakOptions()...) }

// sender keeps the lists it was given.
type sender struct {
	got []List
	err error
}

func (s *sender) Tell(_ context.Context, l List) error {
	if s.err == nil {
		s.got = append(s.got, l)
	}
	return s.err
}

// told returns what was told to whom: "anna@example.org: 01A/failed/0 01B/failed/0".
func (s *sender) told() []string {
	var all []string
	for _, l := range s.got {
		text := l.To + ":"
		for _, e := range l.Entries {
			text += fmt.Sprintf(" %s/%s/%d", e.Notice.GetOutcomeId(), e.Notice.GetKind(), e.Recipient.GetIndex())
		}
		all = append(all, text)
	}
	return all
}

type fixture struct {
	t       *testing.T
	js      jetstream.JetStream
	cursors *bus.Cursors
	log     *Log
	sender  *sender
	slog    *bytes.Buffer
	passed  atomic.Uint64
	closing []time.Time
}

// past is the end of a window that is over, ahead of one that is not.
var (
	past  = time.Now().Add(-time.Hour).Truncate(time.Hour)
	ahead = past.Add(24 * time.Hour)
)

func newFixture(t *testing.T) *fixture {
	t.Helper()
	s := bustest.StartWith(t, bustest.Options{Configure: func(o *server.Options) { o.MaxPayload = bus.MaxPayload }})
	if err := bus.Ensure(t.Context(), s.JetStream(), bus.Layout{Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	cursors, err := bus.OpenCursors(t.Context(), s.JetStream())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, js: s.JetStream(), cursors: cursors, sender: &sender{}, slog: &bytes.Buffer{}}
	f.open()
	return f
}

// open opens the log anew, as after a crash.
func (f *fixture) open(cursors ...bus.Cursor) {
	f.t.Helper()
	if f.log != nil {
		f.log.Close()
	}
	if cursors == nil {
		cursors = make([]bus.Cursor, 2)
	}
	l, err := Open(f.t.Context(), f.js, cursors, slog.New(slog.NewTextHandler(f.slog, nil)))
	if err != nil {
		f.t.Fatal(err)
	}
	f.log = l
	f.t.Cleanup(l.Close)
}

func (f *fixture) teller(change ...func(*TellerOptions)) *Teller {
	f.t.Helper()
	told, err := f.cursors.Read(f.t.Context(), bus.Told)
	if err != nil {
		f.t.Fatal(err)
	}
	o := TellerOptions{
		JetStream: f.js, Cursors: f.cursors, Log: f.log, Sender: f.sender, Passed: f.passed.Load, PerDomain: 100,
		Closing: func(due time.Time) { f.closing = append(f.closing, due) }, Window: time.Hour,
		Slog: slog.New(slog.NewTextHandler(f.slog, nil)),
	}
	for _, c := range change {
		c(&o)
	}
	return NewTeller(o, told)
}

func (f *fixture) join(due time.Time, notices ...*eventv1.JoinedNotice) {
	f.t.Helper()
	for _, n := range notices {
		if err := f.log.Join(f.t.Context(), due, n); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fixture) round(teller *Teller) {
	f.t.Helper()
	if err := teller.round(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) windows() int {
	f.t.Helper()
	due, _, err := bus.JoinedWindows(f.t.Context(), f.js)
	if err != nil {
		f.t.Fatal(err)
	}
	return len(due)
}

// notice is about one recipient for each index.
func notice(id, to string, indexes ...uint32) *eventv1.JoinedNotice {
	n := &eventv1.JoinedNotice{OutcomeId: id, Kind: "failed", To: to, MessageId: id, DecidedAt: timestamppb.New(past.Add(-time.Minute))}
	for _, i := range indexes {
		n.Recipients = append(n.Recipients, &eventv1.JoinedRecipient{Index: i, Address: "bob@example.net", Status: "5.1.1"})
	}
	return n
}

func TestD17_AListForEachPersonAtTheEndOfTheWindow(t *testing.T) {
	f := newFixture(t)
	f.join(past, notice("01B", "anna@example.org", 0, 2), notice("01A", "anna@example.org", 0), notice("01C", "eve@example.org", 0))
	f.join(ahead, notice("01D", "anna@example.org", 0))
	teller := f.teller()
	f.round(teller)
	want := []string{"anna@example.org: 01A/failed/0 01B/failed/0 01B/failed/2", "eve@example.org: 01C/failed/0"}
	got := f.sender.told()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	if n := f.windows(); n != 1 || len(f.closing) != 1 || !f.closing[0].Equal(past) {
		t.Errorf("%d windows left, closed %v", n, f.closing)
	}
	f.round(teller)
	if len(f.sender.got) != 2 {
		t.Errorf("told again: %v", f.sender.told())
	}
}

// TestD17_NothingIsToldBeforeAllOfTheWindowIsSettled: else something could be added to a list that was sent.
func TestD17_NothingIsToldBeforeAllOfTheWindowIsSettled(t *testing.T) {
	f := newFixture(t)
	f.join(past, notice("01A", "anna@example.org", 0))
	frame, err := bus.FrameOutcome(&eventv1.Outcome{Id: "01Z.1.1"})
	if err != nil {
		t.Fatal(err)
	}
	a := bus.NewAppender(f.js, bus.AppenderOptions{Subjects: []string{bus.OutcomeSubject(bus.Notice, 0)}})
	at, err := a.Append(t.Context(), []bus.Frame{frame})
	if err == nil {
		err = a.Close(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	teller := f.teller()
	f.round(teller)
	if len(f.sender.got) != 0 || len(f.closing) != 1 {
		t.Fatalf("told %v, closed %v", f.sender.told(), f.closing)
	}
	f.passed.Store(at.Sequence - 1)
	f.round(teller)
	if len(f.sender.got) != 0 {
		t.Fatalf("told %v", f.sender.told())
	}
	f.passed.Store(at.Sequence)
	f.round(teller)
	if len(f.sender.got) != 1 || len(f.closing) != 1 {
		t.Errorf("told %v, closed %v", f.sender.told(), f.closing)
	}
}

// TestD17_StoredTwiceIsToldOnce: the outcome was handled again after a crash, or two processes handled it.
func TestD17_StoredTwiceIsToldOnce(t *testing.T) {
	f := newFixture(t)
	n := notice("01A", "anna@example.org", 0)
	n.Partition, n.Sequence = 1, 7
	f.join(past, n, notice("01B", "anna@example.org", 0))
	f.open(bus.Cursor{}, bus.Cursor{Partition: 1, Sequence: 6})
	if !f.log.Stored("01A", "failed", 0) || f.log.Stored("01A", "failed", 1) || f.log.Stored("01A", "delayed", 0) {
		t.Error("what was stored before is not known")
	}
	f.join(past, n) // known, and not stored
	f.open(bus.Cursor{}, bus.Cursor{Partition: 1, Sequence: 7})
	if f.log.Stored("01A", "failed", 0) {
		t.Error("what cannot come again is still held")
	}
	f.join(past, n) // stored a second time
	f.round(f.teller())
	if want := []string{"anna@example.org: 01A/failed/0 01B/failed/0"}; !slices.Equal(f.sender.told(), want) {
		t.Errorf("told %v, want %v", f.sender.told(), want)
	}
}

// TestD17_TheListMadeAgainIsTheSame: it was handed in, and the process died before it could note that.
func TestD17_TheListMadeAgainIsTheSame(t *testing.T) {
	f := newFixture(t)
	for i := range 30 {
		f.join(past, notice(fmt.Sprintf("01%02d", 29-i), "anna@example.org", 0, 1))
	}
	cancelled := errors.New("the process dies here")
	f.sender.err = cancelled
	if err := f.teller().round(t.Context()); !errors.Is(err, cancelled) {
		t.Fatal(err)
	}
	f.sender.err = nil
	made := &sender{}
	f.round(f.teller(func(o *TellerOptions) {
		o.Sender = made
		o.Passed = f.passed.Load
	}))
	f.open()
	again := listsOf(personOf(notice("", "anna@example.org")), past, reversed(made.got[0].Entries))
	if again[0].Key != made.got[0].Key || !slices.EqualFunc(again[0].Entries, made.got[0].Entries, func(a, b Entry) bool { return a.compare(b) == 0 }) {
		t.Errorf("key %s, again %s", made.got[0].Key, again[0].Key)
	}
}

func reversed(entries []Entry) []Entry {
	all := slices.Clone(entries)
	slices.Reverse(all)
	return append(all, entries...)
}

// TestD17_WhatIsToldIsNotToldAfterACrash: the cursor was moved, the window not yet removed; and then a process that was
// stopped all the time stores something once more.
func TestD17_WhatIsToldIsNotToldAfterACrash(t *testing.T) {
	f := newFixture(t)
	f.join(past, notice("01A", "anna@example.org", 0))
	told, err := f.cursors.Read(t.Context(), bus.Told)
	if err == nil {
		_, err = f.cursors.Advance(t.Context(), told, uint64(past.Unix()))
	}
	if err != nil {
		t.Fatal(err)
	}
	f.round(f.teller())
	if len(f.sender.got) != 0 || f.windows() != 0 {
		t.Errorf("told %v, %d windows left", f.sender.told(), f.windows())
	}
}

func TestD17_AFormerOwnerTellsNothingMore(t *testing.T) {
	f := newFixture(t)
	f.join(past, notice("01A", "anna@example.org", 0))
	former := f.teller()
	f.round(f.teller())
	f.join(past.Add(time.Second), notice("01B", "anna@example.org", 0))
	if err := former.Run(t.Context()); !errors.Is(err, bus.ErrCursorMoved) {
		t.Errorf("Run = %v, want ErrCursorMoved", err)
	}
}

func TestD17_AThousandLinesAList(t *testing.T) {
	f := newFixture(t)
	indexes := make([]uint32, 100)
	for i := range indexes {
		indexes[i] = uint32(i)
	}
	for i := range 25 {
		f.join(past, notice(fmt.Sprintf("01%02d", i), "anna@example.org", indexes...))
	}
	f.round(f.teller())
	var parts []string
	seen := map[string]bool{}
	for _, l := range f.sender.got {
		parts = append(parts, fmt.Sprintf("%d of %d: %d of %d", l.Part, l.Parts, len(l.Entries), l.Total))
		for _, e := range l.Entries {
			seen[fmt.Sprint(e.Notice.GetOutcomeId(), e.Recipient.GetIndex())] = true
		}
	}
	if want := []string{"1 of 3: 1000 of 2500", "2 of 3: 1000 of 2500", "3 of 3: 500 of 2500"}; !slices.Equal(parts, want) || len(seen) != 2500 {
		t.Errorf("lists %v, %d recipients", parts, len(seen))
	}
}

// TestD17_ADomainGetsNoStormOfLists: what is too much for one window follows in the next ones, and nothing is lost or told
// twice.
func TestD17_ADomainGetsNoStormOfLists(t *testing.T) {
	f := newFixture(t)
	first := past.Add(-24 * time.Hour)
	for i := range 10 {
		f.join(first, notice(fmt.Sprintf("01%d", i), fmt.Sprintf("s%d@example.org", i), 0))
	}
	f.join(first, notice("01X", "s@other.example", 0))
	f.open() // all of it is known, and must be kept all the same
	teller := f.teller(func(o *TellerOptions) { o.PerDomain = 4 })
	f.round(teller)
	if n := len(f.sender.got); n != 5 || f.windows() != 1 {
		t.Fatalf("%d lists in the first window, %d windows left", n, f.windows())
	}
	f.round(teller)
	f.round(teller)
	f.round(teller)
	told := f.sender.told()
	slices.Sort(told)
	if n := len(slices.Compact(told)); n != 11 || len(f.sender.got) != 11 || f.windows() != 0 {
		t.Errorf("told %v, %d windows left", told, f.windows())
	}
}

func TestQ10_WhatCannotBeReadIsReportedAndPassed(t *testing.T) {
	f := newFixture(t)
	subject := bus.JoinedSubject(past)
	header, data := bus.EncodeSegment([]bus.Frame{{Meta: []byte{0xff}}})
	if _, err := f.js.Publish(t.Context(), subject, []byte("no segment")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: header, Data: data}); err != nil {
		t.Fatal(err)
	}
	f.join(past, notice("01A", "anna@example.org", 0))
	f.round(f.teller())
	if len(f.sender.got) != 1 || f.windows() != 0 || strings.Count(f.slog.String(), "cannot be read") < 2 {
		t.Errorf("told %v; log:\n%s", f.sender.told(), f.slog)
	}
}

func TestRequireTLSAndTenantsHaveListsOfTheirOwn(t *testing.T) {
	f := newFixture(t)
	secret, other := notice("01B", "anna@example.org", 0), notice("01C", "anna@example.org", 0)
	secret.RequireTls, other.Tenant = true, "shop"
	f.join(past, notice("01A", "anna@example.org", 0), secret, other)
	f.round(f.teller())
	if len(f.sender.got) != 3 || f.sender.got[0].RequireTLS || !f.sender.got[1].RequireTLS || f.sender.got[2].Tenant != "shop" {
		t.Errorf("told %v", f.sender.told())
	}
}

func TestJoinWaitsWhileTheStoreIsAway(t *testing.T) {
	f := newFixture(t)
	if err := f.js.DeleteStream(t.Context(), bus.StreamJoined); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := f.log.Join(ctx, past, notice("01A", "anna@example.org", 0)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Join = %v", err)
	}
	if err := bus.Ensure(t.Context(), f.js, bus.Layout{Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	f.join(past, notice("01A", "anna@example.org", 0))
	f.round(f.teller())
	if len(f.sender.got) != 1 {
		t.Errorf("told %v", f.sender.told())
	}
}
