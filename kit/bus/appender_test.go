// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/testkit/await"
)

// recordAt reads one record's message id back from its position.
func recordAt(tb testing.TB, js jetstream.JetStream, p Position) string {
	tb.Helper()
	m, err := leaderGet(testContext(tb), js, p.Stream, getRequest{Seq: p.Sequence})
	if err != nil {
		tb.Fatalf("read %+v: %v", p, err)
	}
	s, err := DecodeSegment(m.Header, m.Data)
	if err != nil {
		tb.Fatal(err)
	}
	f, err := s.Frame(p.Index)
	if err != nil {
		tb.Fatal(err)
	}
	q, err := f.Mail()
	if err != nil {
		tb.Fatal(err)
	}
	return q.GetMessageId()
}

func messages(tb testing.TB, js jetstream.JetStream, stream string) uint64 {
	tb.Helper()
	s, err := js.Stream(testContext(tb), stream)
	if err != nil {
		tb.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func newAppender(tb testing.TB, js jetstream.JetStream, o AppenderOptions) *Appender {
	tb.Helper()
	a := NewAppender(js, o)
	tb.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what a test leaves waiting is given up
		_ = a.Close(ctx)
	})
	return a
}

func TestAppendGivesThePositionOfEachRecord(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	a := newAppender(t, js, AppenderOptions{Subjects: []string{MailSubject(0)}})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			first, second := fmt.Sprintf("m%d-1", i), fmt.Sprintf("m%d-2", i)
			p, err := a.Append(testContext(t), []Frame{mailFrame(t, first, []byte("x")), mailFrame(t, second, []byte("y"))})
			if err != nil {
				t.Error(err)
				return
			}
			next := p
			next.Index++
			if got := recordAt(t, js, p); got != first || p.Stream != StreamMail {
				t.Errorf("%+v holds %q, want %q", p, got, first)
			}
			if got := recordAt(t, js, next); got != second {
				t.Errorf("%+v holds %q, want %q", next, got, second)
			}
		})
	}
	wg.Wait()
	if n := messages(t, js, StreamMail); n >= 200 {
		t.Errorf("%d segments for 200 groups: nothing was grouped", n)
	}
}

func TestAppendDealsSegmentsOutInTurn(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	a := newAppender(t, js, AppenderOptions{Subjects: []string{MailSubject(0), MailSubject(1), MailSubject(2)}})
	for i := range 6 {
		p, err := a.Append(testContext(t), []Frame{mailFrame(t, "m")})
		if err != nil {
			t.Fatal(err)
		}
		m, err := leaderGet(testContext(t), js, StreamMail, getRequest{Seq: p.Sequence})
		if err != nil || m.Subject != MailSubject(i%3) {
			t.Errorf("segment %d on %q, %v", i, m.Subject, err)
		}
	}
}

// blockFirst makes the appender's first segment wait until release is called, so that a test can fill the next.
func blockFirst(a *AppenderOptions) (release func()) {
	gate, once := make(chan struct{}), sync.Once{}
	a.Header = func(nats.Header) { <-gate }
	return func() { once.Do(func() { close(gate) }) }
}

func TestSegmentLimitsKeepGroupsWhole(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	o := AppenderOptions{Subjects: []string{MailSubject(0)}}
	release := blockFirst(&o)
	defer release()
	var stored []Stored
	o.Observe = func(s Stored) { stored = append(stored, s) }
	a := newAppender(t, js, o)

	var wg sync.WaitGroup
	group := func(records, size int) []Frame {
		frames := make([]Frame, records)
		for i := range frames {
			frames[i] = Frame{Content: bytes.Repeat([]byte("x"), size)}
		}
		return frames
	}
	enqueue := func(frames []Frame) {
		wg.Add(1)
		if err := a.Enqueue(frames, func(_ Position, err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		}); err != nil {
			t.Fatal(err)
		}
	}
	enqueue(group(1, 10)) // on its way; the rest waits
	waitTaken(t, a)
	enqueue(group(200, 10))
	enqueue(group(100, 10)) // over 256 records together: the next segment
	enqueue(group(1, 900<<10))
	enqueue(group(1, 900<<10)) // over 1 MiB together
	enqueue(group(1, 3<<20))   // over 1 MiB alone: one segment
	enqueue(group(300, 10))    // over 256 alone: one segment
	release()
	wg.Wait()
	want := []int{1, 200, 101, 1, 1, 300}
	if len(stored) != len(want) {
		t.Fatalf("got %+v", stored)
	}
	for i, s := range stored {
		if s.Records != want[i] || s.Sequence != uint64(i+1) || s.Took <= 0 {
			t.Errorf("segment %d: %+v, want %d records", i, s, want[i])
		}
	}
}

// waitTaken waits until nothing waits in the queue any more.
func waitTaken(tb testing.TB, a *Appender) {
	tb.Helper()
	await.Until(tb, "the appender takes what waits", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.plain)+len(a.keyed) == 0
	})
}

func TestAppendRefusesWhatNeverFits(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	a := newAppender(t, js, AppenderOptions{Subjects: []string{MailSubject(0)}})
	var tooLarge *TooLargeError
	if _, err := a.Append(t.Context(), []Frame{{Content: make([]byte, MaxGroupBytes)}}); !errors.As(err, &tooLarge) {
		t.Errorf("got %v, want a TooLargeError", err)
	}
	most := []Frame{{Content: make([]byte, MaxGroupBytes-frameOverhead)}}
	if _, err := a.Append(testContext(t), most); err != nil {
		t.Errorf("the largest group: %v", err)
	}
}

func TestLingerCollectsAndFullSegmentsDoNotLinger(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	a := newAppender(t, js, AppenderOptions{Subjects: []string{MailSubject(0)}, Linger: time.Hour})
	var wg sync.WaitGroup
	for i := range MaxSegmentRecords {
		wg.Add(1)
		err := a.Enqueue([]Frame{mailFrame(t, fmt.Sprint(i))}, func(p Position, err error) {
			defer wg.Done()
			if err != nil || p.Sequence != 1 || p.Index != i {
				t.Errorf("record %d at %+v, %v", i, p, err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait() // a full segment goes at once
	if err := a.Enqueue([]Frame{mailFrame(t, "last")}, func(Position, error) {}); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(testContext(t)); err != nil { // closing does not linger either
		t.Fatal(err)
	}
	if n := messages(t, js, StreamMail); n != 2 {
		t.Errorf("%d segments, want 2", n)
	}
	if err := a.Enqueue([]Frame{mailFrame(t, "late")}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestLingerEnds(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	a := newAppender(t, js, AppenderOptions{Subjects: []string{MailSubject(0)}, Linger: 2 * time.Millisecond})
	if _, err := a.Append(testContext(t), []Frame{mailFrame(t, "m")}); err != nil {
		t.Fatal(err)
	}
}

func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	o := AppenderOptions{Subjects: []string{MailSubject(0)}, MaxWaitingBytes: 100}
	release := blockFirst(&o)
	defer release()
	a := newAppender(t, js, o)
	frames := []Frame{{Content: make([]byte, 60)}}
	answered := make(chan error, 3)
	for range 1 {
		if err := a.Enqueue(frames, func(_ Position, err error) { answered <- err }); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Enqueue(frames, func(Position, error) {}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("Enqueue over the limit: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var unavailable *UnavailableError
	if _, err := a.Append(ctx, frames); !errors.As(err, &unavailable) || unavailable.MaybeStored ||
		!errors.Is(err, context.Canceled) {
		t.Errorf("Append over the limit: %v", err)
	}
	go func() {
		_, err := a.Append(testContext(t), frames) // waits for room
		answered <- err
	}()
	release()
	for range 2 {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
}

func TestCallerThatGoesAwayTakesItsRecordsBack(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	o := AppenderOptions{Subjects: []string{MailSubject(0)}}
	release := blockFirst(&o)
	defer release()
	a := newAppender(t, js, o)
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	go func() { _, err := a.Append(ctx, []Frame{mailFrame(t, "sent")}); errs <- err }()
	await.Until(t, "the first is on its way", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.waiting > 0 && len(a.plain) == 0
	})
	waiting := make(chan error)
	go func() { _, err := a.Append(ctx, []Frame{mailFrame(t, "taken back")}); waiting <- err }()
	await.Until(t, "the second waits", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.plain) == 1 })
	cancel()
	var sent, back *UnavailableError
	if err := <-errs; !errors.As(err, &sent) || !sent.MaybeStored || !errors.Is(err, context.Canceled) {
		t.Errorf("on its way: %v", err)
	}
	if err := <-waiting; !errors.As(err, &back) || back.MaybeStored {
		t.Errorf("waiting: %v", err)
	}
	release()
	if err := a.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if n := messages(t, js, StreamMail); n != 1 || a.waiting != 0 {
		t.Errorf("%d segments, %d bytes waiting; want 1 and 0", n, a.waiting)
	}
}

func TestFullStreamIsTyped(t *testing.T) {
	t.Parallel()
	ts := startServer(t, func(o *server.Options) { o.JetStreamMaxStore = 4 << 20 })
	js := client(t, ts)
	if err := Ensure(testContext(t), js, Layout{Partitions: 1, RetryMinutes: []int{0}, MaxStore: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	fill := func(subject string) error {
		a := newAppender(t, js, AppenderOptions{Subjects: []string{subject}})
		for range 8 {
			if _, err := a.Append(testContext(t), []Frame{{Content: make([]byte, 1<<20)}}); err != nil {
				return err
			}
		}
		return nil
	}
	for _, c := range []struct {
		subject string
		code    jetstream.ErrorCode
	}{{MailSubject(0), 10077}, {RetrySubject(0, 0), 10023}} {
		err := fill(c.subject)
		var fullErr *FullError
		var api *jetstream.APIError
		if !errors.As(err, &fullErr) || !errors.As(err, &api) || api.ErrorCode != c.code {
			t.Errorf("%s: got %v, want a FullError with code %d", c.subject, err, c.code)
		}
	}
}

func TestSettlingWaitsForRoom(t *testing.T) {
	t.Parallel()
	ts := startServer(t, func(o *server.Options) { o.JetStreamMaxStore = 4 << 20 })
	js := client(t, ts)
	if err := Ensure(testContext(t), js, Layout{Partitions: 1, RetryMinutes: []int{0}}); err != nil {
		t.Fatal(err)
	}
	a := newAppender(t, js, AppenderOptions{Subjects: []string{MailSubject(0)}})
	var fullErr *FullError
	var err error
	for err == nil {
		_, err = a.Append(testContext(t), []Frame{{Content: make([]byte, 1<<20)}})
	}
	if !errors.As(err, &fullErr) {
		t.Fatal(err)
	}
	forever := newAppender(t, js, AppenderOptions{Subjects: []string{RetrySubject(0, 0)}, RetryFor: Forever})
	done := make(chan error, 1)
	big := []Frame{{Content: make([]byte, 1<<20)}}
	if err := forever.Enqueue(big, func(_ Position, err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("answered while there is no room: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	s, err := js.Stream(testContext(t), StreamMail)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("once there is room: %v", err)
	}
}

func TestServerAwayThenBack(t *testing.T) {
	t.Parallel()
	ts, js := startBus(t)
	a := newAppender(t, js, AppenderOptions{
		Subjects: []string{MailSubject(0)}, PublishTimeout: 100 * time.Millisecond, RetryFor: 300 * time.Millisecond,
	})
	forever := newAppender(t, js, AppenderOptions{
		Subjects: []string{RetrySubject(0, 0)}, PublishTimeout: 100 * time.Millisecond, RetryFor: Forever,
	})
	ts.Stop()
	var unavailable *UnavailableError
	if _, err := a.Append(testContext(t), []Frame{mailFrame(t, "refused")}); !errors.As(err, &unavailable) {
		t.Errorf("got %v, want an UnavailableError", err)
	}
	done := make(chan error, 1)
	if err := forever.Enqueue([]Frame{mailFrame(t, "kept")}, func(_ Position, err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	ts.StartAgain()
	if err := <-done; err != nil {
		t.Errorf("the appender that never gives up: %v", err)
	}
	if n := messages(t, js, RetryStream(0)); n != 1 {
		t.Errorf("%d segments, want 1", n)
	}
	await.Until(t, "the first appender works again", func() bool {
		_, err := a.Append(testContext(t), []Frame{mailFrame(t, "again")})
		return err == nil
	})
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	ts, js := startBus(t)
	a := newAppender(t, js, AppenderOptions{Subjects: []string{MailSubject(0)}, RetryFor: Forever})
	ts.Stop()
	var got atomic.Pointer[error]
	if err := a.Enqueue([]Frame{mailFrame(t, "m")}, func(_ Position, err error) { got.Store(&err) }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := a.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v", err)
	}
	var unavailable *UnavailableError
	if err := got.Load(); err == nil || !errors.As(*err, &unavailable) || !errors.Is(*err, ErrClosed) {
		t.Errorf("the record: %v", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 50, 500} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			_, js := startBus(b)
			var segments atomic.Int64
			a := newAppender(b, js, AppenderOptions{
				Subjects: []string{MailSubject(0)}, Observe: func(Stored) { segments.Add(1) },
			})
			content := bytes.Repeat([]byte("0123456789abcde\n"), 128)
			frame := mailFrame(b, "01J00000000000000000000000", content)
			ctx := context.Background()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := a.Append(ctx, []Frame{frame}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(b.N)/float64(segments.Load()), "records/segment")
		})
	}
}
