// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func publish(tb testing.TB, js jetstream.JetStream, subject string, records ...string) uint64 {
	tb.Helper()
	frames := make([]Frame, len(records))
	for i, id := range records {
		frames[i] = mailFrame(tb, id, []byte("content of "+id))
	}
	h, data := EncodeSegment(frames)
	ack, err := js.PublishMsg(testContext(tb), &nats.Msg{Subject: subject, Header: h, Data: data})
	if err != nil {
		tb.Fatal(err)
	}
	return ack.Sequence
}

func newReader(tb testing.TB, js jetstream.JetStream, o ReaderOptions) *Reader {
	tb.Helper()
	r, err := NewReader(testContext(tb), js, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	return r
}

func expectSequence(tb testing.TB, r *Reader, want uint64) Delivery {
	tb.Helper()
	d, err := r.Next(testContext(tb))
	if err != nil {
		tb.Fatal(err)
	}
	if d.Sequence != want {
		tb.Fatalf("got sequence %d, want %d", d.Sequence, want)
	}
	return d
}

func TestReaderReturnsSegmentsInOrder(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	before := time.Now().Add(-time.Second)
	for i := range 5 {
		publish(t, js, MailSubject(0), fmt.Sprintf("m%d", i), "second")
	}
	r := newReader(t, js, ReaderOptions{Stream: StreamMail})
	for i := range 5 {
		d := expectSequence(t, r, uint64(i+1))
		f, err := d.Segment.Frame(0)
		if err != nil || d.Err != nil || d.Segment.Len() != 2 {
			t.Fatal(d.Segment.Len(), d.Err, err)
		}
		if m, err := f.Mail(); err != nil || m.GetMessageId() != fmt.Sprintf("m%d", i) {
			t.Errorf("record %v, %v", m, err)
		}
		if d.Stream != StreamMail || d.Subject != MailSubject(0) || d.Time.Before(before) || d.Takeover() != "" {
			t.Errorf("got %+v", d)
		}
	}
	if r.Position() != 6 {
		t.Errorf("position %d, want 6", r.Position())
	}
	// What comes later comes too.
	later := make(chan uint64)
	go func() { later <- publish(t, js, MailSubject(0), "later") }()
	expectSequence(t, r, 6)
	<-later
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with nothing to read: %v", err)
	}
}

func TestReaderFiltersSubjects(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	for _, s := range []string{"outcome.quiet.0", "outcome.notice.0", "outcome.quiet.1", "outcome.notice.1"} {
		publish(t, js, s, "m")
	}
	r := newReader(t, js, ReaderOptions{Stream: StreamOutcome, Subjects: []string{"outcome.quiet.0", "outcome.notice.0"}})
	expectSequence(t, r, 1)
	expectSequence(t, r, 2)
	r = newReader(t, js, ReaderOptions{Stream: StreamOutcome, Subjects: []string{OutcomeSubject(Notice, AnyPartition)}})
	expectSequence(t, r, 2)
	expectSequence(t, r, 4)
}

func TestReaderStartsWhereItIsTold(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	for range 3 {
		publish(t, js, MailSubject(0), "m")
	}
	expectSequence(t, newReader(t, js, ReaderOptions{Stream: StreamMail, From: 2}), 2)
	d, err := ReadSegment(testContext(t), js, StreamMail, 3)
	if err != nil {
		t.Fatal(err)
	}
	expectSequence(t, newReader(t, js, ReaderOptions{Stream: StreamMail, Since: d.Time}), 3)
	r := newReader(t, js, ReaderOptions{Stream: StreamMail, Since: d.Time.Add(time.Nanosecond)})
	if r.Position() != 4 {
		t.Errorf("behind the end it stands at %d, want 4", r.Position())
	}
	publish(t, js, MailSubject(0), "m")
	expectSequence(t, r, 4)
	expectSequence(t, newReader(t, js, ReaderOptions{Stream: StreamMail, From: 4}), 4)

	var ahead *AheadError
	_, err = NewReader(testContext(t), js, ReaderOptions{Stream: StreamMail, From: 6})
	if !errors.As(err, &ahead) || ahead.From != 6 || ahead.Last != 4 {
		t.Errorf("beyond the end: %v, want an AheadError", err)
	}
	if _, err := NewReader(testContext(t), js, ReaderOptions{Stream: "RETRY_7"}); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("no such stream: %v", err)
	}
}

func TestReaderDeliversWhatIsNoSegment(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	if _, err := js.Publish(testContext(t), MailSubject(0), []byte("rubbish")); err != nil {
		t.Fatal(err)
	}
	publish(t, js, MailSubject(0), "good")
	r := newReader(t, js, ReaderOptions{Stream: StreamMail})
	d := expectSequence(t, r, 1)
	var corrupt *CorruptError
	if !errors.As(d.Err, &corrupt) || string(d.Data) != "rubbish" {
		t.Errorf("got %v with %q", d.Err, d.Data)
	}
	if d := expectSequence(t, r, 2); d.Err != nil {
		t.Error(d.Err)
	}
}

func TestReaderMessageOverItsByteLimit(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	small := make([]byte, 3000)
	for _, size := range []int{100, 300 << 10, 3000, 3000, 3000, 1 << 20, 100} {
		h, data := EncodeSegment([]Frame{{Content: append(small[:0:0], make([]byte, size)...)}})
		if _, err := js.PublishMsg(testContext(t), &nats.Msg{Subject: MailSubject(0), Header: h, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	r := newReader(t, js, ReaderOptions{Stream: StreamMail, MaxBytes: 4 << 10})
	started := time.Now()
	for i := range 7 {
		expectSequence(t, r, uint64(i+1))
	}
	if took := time.Since(started); took > readSilence {
		t.Errorf("took %v: it waited for a pull to run out", took)
	}
}

func TestReaderHeadersOnly(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	publish(t, js, MailSubject(0), "m")
	d := expectSequence(t, newReader(t, js, ReaderOptions{Stream: StreamMail, HeadersOnly: true}), 1)
	if len(d.Data) != 0 || d.Err != nil || d.Header.Get(HeaderRecords) != "1" {
		t.Errorf("got %d bytes, %v, %v", len(d.Data), d.Err, d.Header)
	}
}

// TestReaderSkipsNothing reads while others publish and the server goes away and comes back in every way it can.
func TestReaderSkipsNothing(t *testing.T) {
	t.Parallel()
	ts, js := startBus(t)
	a := newAppender(t, client(t, ts), AppenderOptions{
		Subjects: []string{MailSubject(0), MailSubject(1)}, PublishTimeout: 500 * time.Millisecond, RetryFor: Forever,
	})
	const total = 3000
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range total {
			if _, err := a.Append(testContext(t), []Frame{mailFrame(t, fmt.Sprint(i))}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	all := newReader(t, js, ReaderOptions{Stream: StreamMail})
	one := newReader(t, client(t, ts), ReaderOptions{Stream: StreamMail, Subjects: []string{MailSubject(1)}, MaxBytes: 600})
	progress := make(chan int, total)
	wg.Go(func() {
		defer close(progress)
		next := 0
		for seq := uint64(1); next < total; seq++ {
			d := expectSequence(t, all, seq)
			for i := range d.Segment.Len() {
				f, _ := d.Segment.Frame(i)
				if m, err := f.Mail(); err != nil || m.GetMessageId() != fmt.Sprint(next) {
					t.Errorf("got %v, %v, want %d", m.GetMessageId(), err, next)
					return
				}
				next++
			}
			progress <- next
		}
	})
	wg.Go(func() {
		for seq := uint64(2); seq <= total; seq += 2 {
			expectSequence(t, one, seq)
		}
	})
	disturbances := []func(){ts.Restart, ts.CutConnections, ts.Crash, func() {
		loseAnswers(ts, func() { time.Sleep(10 * time.Millisecond) })
	}, ts.Restart}
	for n := range progress {
		if k := len(disturbances); k > 0 && n >= total*(6-k)/6 {
			disturbances[k-1]()
			disturbances = disturbances[:k-1]
		}
	}
	wg.Wait()
	if len(disturbances) > 0 {
		t.Errorf("%d disturbances did not happen", len(disturbances))
	}
}

func TestReaderGoesOverWhatIsPurged(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	for range 50 {
		publish(t, js, MailSubject(0), "m")
	}
	r := newReader(t, js, ReaderOptions{Stream: StreamMail, MaxBytes: 1 << 10})
	expectSequence(t, r, 1)
	if err := Purge(testContext(t), js, StreamMail, 41); err != nil {
		t.Fatal(err)
	}
	last := uint64(1)
	for last < 50 {
		d, err := r.Next(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if d.Sequence != last+1 && d.Sequence != 41 { // some may have been on their way before the purge
			t.Fatalf("%d follows %d", d.Sequence, last)
		}
		last = d.Sequence
	}
	expectSequence(t, newReader(t, js, ReaderOptions{Stream: StreamMail, From: 5}), 41)
}

func TestReadToEnd(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	r := newReader(t, js, ReaderOptions{Stream: StreamOutcome, Subjects: []string{"outcome.quiet.0", "outcome.notice.0"}})
	var got []uint64
	collect := func(d Delivery) error { got = append(got, d.Sequence); return nil }
	if err := r.ReadToEnd(testContext(t), collect); err != nil || len(got) != 0 {
		t.Fatalf("an empty stream gave %v, %v", got, err)
	}
	for _, p := range []int{0, 0, 1, 0, 1} {
		publish(t, js, OutcomeSubject(Quiet, p), "m")
	}
	if err := r.ReadToEnd(testContext(t), collect); err != nil || fmt.Sprint(got) != "[1 2 4]" {
		t.Fatalf("got %v, %v", got, err)
	}
	publish(t, js, OutcomeSubject(Notice, 0), "m")
	expectSequence(t, r, 6) // and Next goes on behind it
	stop := errors.New("stop")
	publish(t, js, OutcomeSubject(Notice, 0), "m")
	if err := r.ReadToEnd(testContext(t), func(Delivery) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the error of the function", err)
	}
}

func TestReadToEndWhenTheEndIsPurged(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	for range 4 {
		publish(t, js, MailSubject(0), "m")
	}
	r := newReader(t, js, ReaderOptions{Stream: StreamMail, MaxBytes: 200})
	n := 0
	err := r.ReadToEnd(testContext(t), func(Delivery) error {
		if n++; n == 1 {
			return Purge(testContext(t), js, StreamMail, 5)
		}
		return nil
	})
	if err != nil || n == 0 || n > 4 {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestReaderTellsThatItsStreamIsGone(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	r := newReader(t, js, ReaderOptions{Stream: RetryStream(5)})
	if err := js.DeleteStream(testContext(t), RetryStream(5)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at first it may come back: %v", err)
	}
	r.missing = time.Now().Add(-readMissing)
	if _, err := r.Next(testContext(t)); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("got %v, want ErrStreamNotFound", err)
	}
}

func BenchmarkReader(b *testing.B) {
	_, js := startBus(b)
	frames := make([]Frame, 64)
	for i := range frames {
		frames[i] = mailFrame(b, "01J00000000000000000000000", make([]byte, 2048))
	}
	h, data := EncodeSegment(frames)
	const segments = 500
	for range segments {
		if _, err := js.PublishMsg(testContext(b), &nats.Msg{Subject: MailSubject(0), Header: h, Data: data}); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for b.Loop() {
		r := newReader(b, js, ReaderOptions{Stream: StreamMail})
		if err := r.ReadToEnd(context.Background(), func(Delivery) error { return nil }); err != nil {
			b.Fatal(err)
		}
		_ = r.Close()
	}
	b.ReportMetric(float64(b.N*segments*len(frames))/b.Elapsed().Seconds(), "records/s")
}
