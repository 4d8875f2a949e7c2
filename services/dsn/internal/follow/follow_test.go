// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/notify"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.LeakOptions()...) }

// handler lets a test decide when an outcome is settled.
type handler struct {
	mu    sync.Mutex
	gates map[string]chan struct{}
	begun chan string
	// planned and recalled are ids in the order of the calls.
	planned, recalled []string
	begins            int

	underway, most int
}

func newHandler() *handler {
	return &handler{gates: map[string]chan struct{}{}, begun: make(chan string, 10000)}
}

// hold keeps an outcome from being settled until the returned function is called.
func (h *handler) hold(id string) (settle func()) {
	gate := make(chan struct{})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gates[id] = gate
	return sync.OnceFunc(func() { close(gate) })
}

func (h *handler) Begin(context.Context, []bus.Cursor) error {
	h.begins++
	h.recalled = nil
	return nil
}

func (h *handler) Recall(item notify.Item) { h.recalled = append(h.recalled, item.Outcome.GetId()) }

func (h *handler) Plan(item notify.Item) notify.Item {
	h.planned = append(h.planned, item.Outcome.GetId())
	return item
}

func (h *handler) Handle(ctx context.Context, item notify.Item) error {
	h.mu.Lock()
	h.underway++
	h.most = max(h.most, h.underway)
	gate := h.gates[item.Outcome.GetId()]
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.underway--
	}()
	h.begun <- item.Outcome.GetId()
	if gate == nil {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *handler) Undecodable(context.Context) {}

func (h *handler) await(t *testing.T, ids ...string) {
	t.Helper()
	for range ids {
		select {
		case <-h.begun:
		case <-time.After(time.Minute):
			t.Fatalf("outcomes %v were not handed to the handler", ids)
		}
	}
}

type fixture struct {
	t       *testing.T
	js      jetstream.JetStream
	cursors *bus.Cursors
	handler *handler
}

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
	return &fixture{t: t, js: s.JetStream(), cursors: cursors, handler: newHandler()}
}

// run follows until the returned function is called.
func (f *fixture) run(change ...func(*Options)) (stop func() error) {
	f.t.Helper()
	o := Options{
		JetStream: f.js, Cursors: f.cursors, Partitions: 2, Concurrency: 8, Idle: 50 * time.Millisecond, Handler: f.handler,
		Log: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- New(o).Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-result })
	f.t.Cleanup(func() { _ = stop() })
	return stop
}

func (f *fixture) append(kind bus.OutcomeKind, partition int, ids ...string) uint64 {
	f.t.Helper()
	var frames []bus.Frame
	for _, id := range ids {
		frame, err := bus.FrameOutcome(&eventv1.Outcome{Id: id})
		if err != nil {
			f.t.Fatal(err)
		}
		frames = append(frames, frame)
	}
	a := bus.NewAppender(f.js, bus.AppenderOptions{Subjects: []string{bus.OutcomeSubject(kind, partition)}})
	position, err := a.Append(f.t.Context(), frames)
	if err == nil {
		err = a.Close(f.t.Context())
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return position.Sequence
}

func (f *fixture) cursor(partition int) uint64 {
	f.t.Helper()
	at, err := f.cursors.Read(f.t.Context(), partition)
	if err != nil {
		f.t.Fatal(err)
	}
	return at.Sequence
}

// awaitCursor waits until the cursor stands at or behind a sequence and returns where it stands.
func (f *fixture) awaitCursor(partition int, sequence uint64) uint64 {
	f.t.Helper()
	kv, err := f.js.KeyValue(f.t.Context(), bus.BucketOwners)
	if err != nil {
		f.t.Fatal(err)
	}
	watch, err := kv.Watch(f.t.Context(), "dsn.cursor."+strconv.Itoa(partition))
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = watch.Stop() }()
	limit := time.After(time.Minute)
	for {
		select {
		case entry := <-watch.Updates():
			if entry == nil {
				continue
			}
			if at, _ := strconv.ParseUint(string(entry.Value()), 10, 64); at >= sequence {
				return at
			}
		case <-limit:
			f.t.Fatalf("cursor of partition %d stands at %d, want %d", partition, f.cursor(partition), sequence)
		}
	}
}

func TestQ09_CursorStopsBeforeWhatIsNotSettled(t *testing.T) {
	f := newFixture(t)
	settle := f.handler.hold("b")
	stop := f.run()
	first := f.append(bus.Notice, 0, "a")
	second := f.append(bus.Notice, 0, "b", "c")
	third := f.append(bus.Notice, 0, "d")
	f.handler.await(t, "a", "b", "c", "d")
	f.awaitCursor(0, first)
	// The other partition's cursor is moved by the same rules and later than all that was handed over above.
	f.awaitCursor(1, f.append(bus.Notice, 1, "x"))
	if at := f.cursor(0); at != first {
		t.Errorf("cursor at %d, want %d: a later segment is settled, the one before it is not (%d, %d)", at, first, second, third)
	}
	settle()
	f.awaitCursor(0, third)
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
}

func TestQ09_UnsettledIsHandledAgain(t *testing.T) {
	f := newFixture(t)
	f.handler.hold("b")
	stop := f.run()
	first := f.append(bus.Notice, 0, "a")
	f.append(bus.Notice, 0, "b")
	f.handler.await(t, "a", "b")
	f.awaitCursor(0, first)
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	f.handler = newHandler()
	f.run()
	f.handler.await(t, "b")
	if n := len(f.handler.begun); n != 0 {
		t.Errorf("%d more outcomes handled again", n)
	}
}

// TestCursorPassesWhatIsOfNoConcern: quiet outcomes, and those of other partitions, must not hold the trimming back.
func TestCursorPassesWhatIsOfNoConcern(t *testing.T) {
	f := newFixture(t)
	f.run()
	notice := f.append(bus.Notice, 0, "a")
	var end uint64
	for range 5 {
		end = f.append(bus.Quiet, 1, "q")
	}
	if at := f.awaitCursor(0, end); at < notice {
		t.Errorf("cursor at %d", at)
	}
	f.awaitCursor(1, end)
	if lowest, err := f.cursors.Lowest(t.Context(), 2); err != nil || lowest < end {
		t.Errorf("lowest cursor %d, %v, want %d", lowest, err, end)
	}
	// What comes afterwards is still read.
	f.handler.await(t, "a")
	f.append(bus.Notice, 0, "later")
	f.handler.await(t, "later")
}

// TestIdleDoesNotPassWhatIsUnderWay: the end of the stream is reached by reading, but not by settling.
func TestIdleDoesNotPassWhatIsUnderWay(t *testing.T) {
	f := newFixture(t)
	settle := f.handler.hold("a")
	f.run()
	f.append(bus.Notice, 0, "a")
	f.handler.await(t, "a")
	end := f.append(bus.Quiet, 0, "q")
	f.awaitCursor(1, end) // the idle partition passes it
	if at := f.cursor(0); at != 0 {
		t.Errorf("cursor at %d before anything is settled", at)
	}
	settle()
	f.awaitCursor(0, end)
}

func TestConcurrencyIsBounded(t *testing.T) {
	f := newFixture(t)
	var settle []func()
	var ids []string
	for i := range 20 {
		id := "o" + strconv.Itoa(i)
		ids, settle = append(ids, id), append(settle, f.handler.hold(id))
	}
	f.append(bus.Notice, 0, ids[:10]...)
	f.append(bus.Notice, 1, ids[10:]...)
	f.run(func(o *Options) { o.Concurrency = 3 })
	f.handler.await(t, ids[:3]...)
	for _, s := range settle {
		s()
	}
	f.handler.await(t, ids[3:]...)
	f.handler.mu.Lock()
	defer f.handler.mu.Unlock()
	if f.handler.most > 3 {
		t.Errorf("%d handled at once, at most 3 allowed", f.handler.most)
	}
}

// TestOneThatDoesNotEndHoldsNobodyElse: while one notification cannot be handed in, others of its own and of other
// partitions are.
func TestOneThatDoesNotEndHoldsNobodyElse(t *testing.T) {
	f := newFixture(t)
	settle := f.handler.hold("stuck")
	f.run(func(o *Options) { o.Concurrency = 2 })
	f.append(bus.Notice, 0, "stuck")
	var end uint64
	for i := range 200 {
		end = f.append(bus.Notice, i%2, "o"+strconv.Itoa(i))
	}
	f.handler.await(t, make([]string, 201)...)
	f.awaitCursor(1, end)
	if at := f.cursor(0); at != 0 {
		t.Errorf("cursor at %d before anything is settled", at)
	}
	settle()
	f.awaitCursor(0, end-1)
}

func TestOutcomesAreReadInTheOrderTheyWereStored(t *testing.T) {
	f := newFixture(t)
	var want []string
	for i := range 40 {
		id := "o" + strconv.Itoa(i)
		want = append(want, id)
		f.append(bus.Notice, i%2, id)
	}
	f.run(func(o *Options) { o.Concurrency = 1 })
	for _, id := range want {
		select {
		case got := <-f.handler.begun:
			if got != id {
				t.Fatalf("%s came, want %s", got, id)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s did not come", id)
		}
	}
}

// TestWhatItsPartitionHasPassedIsNotHandledAgain: the reader begins behind the lowest cursor.
func TestWhatItsPartitionHasPassedIsNotHandledAgain(t *testing.T) {
	f := newFixture(t)
	f.append(bus.Notice, 0, "a")
	second := f.append(bus.Notice, 1, "b")
	third := f.append(bus.Notice, 0, "c")
	if _, err := f.cursors.Advance(t.Context(), bus.Cursor{Partition: 1}, second); err != nil {
		t.Fatal(err)
	}
	f.run()
	f.awaitCursor(0, third)
	f.handler.await(t, "a", "c")
	if n := len(f.handler.begun); n != 0 {
		t.Errorf("%d more outcomes handled", n)
	}
}

func TestStopsWhenTheCursorIsMovedByAnother(t *testing.T) {
	f := newFixture(t)
	settle := f.handler.hold("a")
	f.append(bus.Notice, 0, "a")
	o := Options{
		JetStream: f.js, Cursors: f.cursors, Partitions: 1, Concurrency: 1, Idle: time.Hour, Handler: f.handler,
		Log: slog.New(slog.DiscardHandler),
	}
	result := make(chan error, 1)
	go func() { result <- New(o).Run(t.Context()) }()
	f.handler.await(t, "a")
	if _, err := f.cursors.Advance(t.Context(), bus.Cursor{}, 77); err != nil {
		t.Fatal(err)
	}
	settle()
	if err := <-result; !errors.Is(err, bus.ErrCursorMoved) {
		t.Errorf("Run = %v, want ErrCursorMoved", err)
	}
	if at := f.cursor(0); at != 77 {
		t.Errorf("cursor at %d", at)
	}
}

func TestLastFinishedKeepsTheOrder(t *testing.T) {
	queue := make(chan *segment, 4)
	done := func(sequence uint64) *segment { return newSegment(sequence, 0, func() {}) }
	open := newSegment(3, 1, func() {})
	queue <- done(2)
	queue <- open
	queue <- done(4)
	last, next := lastFinished(done(1), queue)
	if last.sequence != 2 || next != open || len(queue) != 1 {
		t.Errorf("last %d, next %v", last.sequence, next)
	}
	open.settled()
	last, next = lastFinished(next, queue)
	if last.sequence != 4 || next != nil {
		t.Errorf("last %d, next %v", last.sequence, next)
	}
}

// TestD17_RecallsWhatIsCountedTogether: all that was stored since the window began is handed over once and in order, the
// settled part by Recall and the rest by Plan, whatever partition's cursor stands where.
func TestD17_RecallsWhatIsCountedTogether(t *testing.T) {
	f := newFixture(t)
	var all []string
	put := func(partition int, id string) uint64 {
		all = append(all, id)
		return f.append(bus.Notice, partition, id)
	}
	put(0, "a")
	f.append(bus.Quiet, 0, "quiet")
	low := put(1, "b")
	high := put(0, "c")
	put(1, "d")
	put(0, "e")
	last := put(1, "f")
	for partition, sequence := range map[int]uint64{0: high, 1: low} {
		if _, err := f.cursors.Advance(t.Context(), bus.Cursor{Partition: partition}, sequence); err != nil {
			t.Fatal(err)
		}
	}
	var since []time.Time
	var passed func() uint64
	beside := make(chan struct{})
	stop := f.run(func(o *Options) {
		o.Since = func(at time.Time) time.Time { since = append(since, at); return at.Add(-time.Hour) }
		o.Beside = func(ctx context.Context, p func() uint64) error {
			passed = p
			close(beside)
			<-ctx.Done()
			return ctx.Err()
		}
	})
	<-beside
	f.awaitCursor(1, last)
	f.awaitCursor(0, last-1)
	if at := passed(); at > last || at < low {
		t.Errorf("passed %d", at)
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	if got := slices.Concat(f.handler.recalled, f.handler.planned); !slices.Equal(got, all) || f.handler.begins != 1 {
		t.Errorf("recalled %v, planned %v; want %v; began %d times", f.handler.recalled, f.handler.planned, all, f.handler.begins)
	}
	if !slices.Equal(f.handler.recalled, []string{"a", "b", "c"}) {
		t.Errorf("recalled %v", f.handler.recalled)
	}
	first, err := bus.ReadNext(t.Context(), f.js, bus.StreamOutcome, "outcome.notice.*", low+1)
	if err != nil || len(since) != 1 || !since[0].Equal(first.Time) {
		t.Errorf("since was asked for %v, want the time of the first outcome behind the lowest cursor, %v (%v)", since, first.Time, err)
	}
}

func TestD17_NothingToRecallIsNoWait(t *testing.T) {
	f := newFixture(t)
	end := f.append(bus.Notice, 0, "a")
	f.append(bus.Notice, 1, "b")
	for partition := range 2 {
		if _, err := f.cursors.Advance(t.Context(), bus.Cursor{Partition: partition}, end+1); err != nil {
			t.Fatal(err)
		}
	}
	f.run(func(o *Options) { o.Since = func(at time.Time) time.Time { return at.Add(time.Hour) } })
	f.append(bus.Notice, 0, "later")
	f.handler.await(t, "later")
}
