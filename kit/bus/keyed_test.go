// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/testkit/await"
)

type keyedAnswer struct {
	pos       Position
	duplicate bool
	err       error
}

// appendKeyed lets many keyed submissions wait at once and returns their answers.
func appendKeyed(t *testing.T, a *Appender, release func(), keys ...string) []keyedAnswer {
	t.Helper()
	// Something plain is on its way, so the keyed ones wait together.
	if err := a.Enqueue([]Frame{mailFrame(t, "plain")}, func(Position, error) {}); err != nil {
		t.Fatal(err)
	}
	waitTaken(t, a)
	answers := make([]keyedAnswer, len(keys))
	var wg sync.WaitGroup
	for i, key := range keys {
		wg.Go(func() {
			r := &answers[i]
			r.pos, r.duplicate, r.err = a.AppendKeyed(testContext(t), KeyedMsgID(KeyHash("", key)), []Frame{mailFrame(t, key)})
		})
	}
	await.Until(t, "all wait", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.keyed) == len(keys) })
	release()
	wg.Wait()
	return answers
}

func someKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%d", i)
	}
	return keys
}

func TestKeyedSubmissionsAreSegmentsOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, keyedSingles, 100, keyedBatch + 50} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			_, js := startBus(t)
			o := AppenderOptions{Subjects: []string{MailSubject(0)}}
			var stored atomic.Int32
			o.Observe = func(Stored) { stored.Add(1) }
			release := blockFirst(&o)
			defer release()
			keys := someKeys(n)
			seen := make(map[uint64]bool)
			for i, r := range appendKeyed(t, newAppender(t, js, o), release, keys...) {
				if r.err != nil || r.duplicate || r.pos.Index != 0 || seen[r.pos.Sequence] {
					t.Fatalf("%s: %+v", keys[i], r)
				}
				seen[r.pos.Sequence] = true
				if got := recordAt(t, js, r.pos); got != keys[i] {
					t.Errorf("%s: its position holds %s", keys[i], got)
				}
				m, err := leaderGet(testContext(t), js, StreamMail, getRequest{Seq: r.pos.Sequence})
				if err != nil || m.Header.Get(jetstream.MsgIDHeader) != KeyedMsgID(KeyHash("", keys[i])) {
					t.Errorf("%s: header %v, %v", keys[i], m.Header, err)
				}
			}
			if got := messages(t, js, StreamMail); got != uint64(n+1) || int(stored.Load()) != n+1 {
				t.Errorf("%d segments, %d observed; want %d", got, stored.Load(), n+1)
			}
		})
	}
}

func TestKeyedDuplicateGivesTheFirstSequence(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 60} { // singles; a batch that is refused as a whole
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			s, js := startBus(t)
			a := newAppender(t, js, AppenderOptions{Subjects: []string{MailSubject(0)}})
			first, duplicate, err := a.AppendKeyed(testContext(t), KeyedMsgID(KeyHash("", "key-1")), []Frame{mailFrame(t, "first")})
			if err != nil || duplicate {
				t.Fatal(duplicate, err)
			}
			s.Crash() // the server knows the id over a kill, too
			retryContext(t, js)

			o := AppenderOptions{Subjects: []string{MailSubject(0)}}
			release := blockFirst(&o)
			defer release()
			for i, r := range appendKeyed(t, newAppender(t, js, o), release, someKeys(n)...) {
				switch {
				case r.err != nil:
					t.Fatal(r.err)
				case i == 1 && (!r.duplicate || r.pos != first):
					t.Errorf("the known key: %+v, want %+v as a duplicate", r, first)
				case i != 1 && r.duplicate:
					t.Errorf("a new key: %+v", r)
				}
			}
			if got, want := messages(t, js, StreamMail), uint64(1+1+n-1); got != want {
				t.Errorf("%d segments, want %d", got, want)
			}
		})
	}
}

// Many callers with the same few keys at the same time, over two appenders and with lost answers: one segment a key.
func TestKeyedOnceForEachKey(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	var appenders []*Appender
	for range 2 {
		appenders = append(appenders, newAppender(t, client(t, s), AppenderOptions{
			Subjects: []string{MailSubject(0), MailSubject(1)}, PublishTimeout: 200 * time.Millisecond,
		}))
	}
	const keys, callers = 20, 200
	var mu sync.Mutex
	firsts := make(map[int]Position)
	var news atomic.Int32
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			key := i % keys
			p, duplicate, err := appenders[i%2].AppendKeyed(
				testContext(t), KeyedMsgID(KeyHash("tenant", fmt.Sprint(key))), []Frame{mailFrame(t, fmt.Sprint(key))},
			)
			if err != nil {
				t.Error(err)
				return
			}
			if !duplicate {
				news.Add(1)
			}
			mu.Lock()
			defer mu.Unlock()
			if first, ok := firsts[key]; ok && first != p {
				t.Errorf("key %d lies at %+v and %+v", key, first, p)
			}
			firsts[key] = p
		})
		if i == callers/2 {
			loseAnswers(s, func() { time.Sleep(20 * time.Millisecond) })
		}
	}
	wg.Wait()
	if got := messages(t, js, StreamMail); got != keys || news.Load() > keys {
		t.Errorf("%d segments, %d called new, for %d keys", got, news.Load(), keys)
	}
}

func TestKeyedBatchWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	o := AppenderOptions{Subjects: []string{MailSubject(0)}, PublishTimeout: 200 * time.Millisecond}
	release := blockFirst(&o)
	defer release()
	a := newAppender(t, client(t, s), o)
	const n = 30
	answers := appendKeyed(t, a, func() {
		release()
		waitTaken(t, a) // the batch is on its way
		loseAnswers(s, func() {
			await.Until(t, "the batch is stored", func() bool {
				info, err := s.NATS().Jsz(nil)
				return err == nil && info.Messages == n+1
			})
		})
	}, someKeys(n)...)
	for i, r := range answers {
		if r.err != nil || recordAt(t, js, r.pos) != fmt.Sprintf("key-%d", i) {
			t.Errorf("key %d: %+v", i, r)
		}
	}
	if got := messages(t, js, StreamMail); got != n+1 {
		t.Errorf("%d segments, want %d", got, n+1)
	}
}

func TestKeyedNeedsAnID(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	frames := []Frame{mailFrame(t, "m")}
	plain := newAppender(t, js, AppenderOptions{Subjects: []string{MailSubject(0)}})
	forever := newAppender(t, js, AppenderOptions{Subjects: []string{MailSubject(0)}, RetryFor: Forever})
	fenced := newAppender(t, js, AppenderOptions{Fence: takeOver(t, js, "o").Fences[RetrySubject(0, 0)]})
	for name, call := range map[string]func() error{
		"no id":      func() error { _, _, err := plain.AppendKeyed(t.Context(), "", frames); return err },
		"no records": func() error { _, _, err := plain.AppendKeyed(t.Context(), "k.1", nil); return err },
		"forever":    func() error { _, _, err := forever.AppendKeyed(t.Context(), "k.1", frames); return err },
		"fenced":     func() error { _, _, err := fenced.AppendKeyed(t.Context(), "k.1", frames); return err },
	} {
		if call() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := plain.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := plain.AppendKeyed(t.Context(), "k.1", frames); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func BenchmarkAppendKeyed(b *testing.B) {
	for _, callers := range []int{1, 8, 50, 200} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			_, js := startBus(b)
			a := newAppender(b, js, AppenderOptions{Subjects: []string{MailSubject(0)}})
			frame := mailFrame(b, "m", make([]byte, 2048))
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						if _, _, err := a.AppendKeyed(context.Background(), fmt.Sprintf("k.%d", i), []Frame{frame}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
