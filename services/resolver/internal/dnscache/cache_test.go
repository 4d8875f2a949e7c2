// SPDX-License-Identifier: Apache-2.0

package dnscache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/inflight"
)

// source answers every question with what give returns and counts.
type source struct {
	asked atomic.Int64
	give  func(q dnsquery.Question) (*dnsquery.Answer, error)
}

func (s *source) Query(_ context.Context, q dnsquery.Question) (*dnsquery.Answer, error) {
	s.asked.Add(1)
	return s.give(q)
}

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func stack(c *Cache, s dnsquery.Querier) dnsquery.Querier { return c.Over(c.Keep(s)) }

func mx(host string) []dnsquery.MX { return []dnsquery.MX{{Preference: 10, Host: host}} }

func question(name string) dnsquery.Question {
	return dnsquery.Question{Name: name, Type: dnsquery.TypeMX}
}

func mustAsk(t *testing.T, q dnsquery.Querier, question dnsquery.Question) *dnsquery.Answer {
	t.Helper()
	a, err := q.Query(t.Context(), question)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestLifetimes(t *testing.T) {
	records := func(ttl time.Duration) dnsquery.Answer { return dnsquery.Answer{MX: mx("a.test"), TTL: ttl} }
	for _, c := range []struct {
		name   string
		answer dnsquery.Answer
		max    time.Duration
		want   time.Duration
	}{
		{"R-23 as the records say", records(time.Minute), 0, time.Minute},
		{"R-23 at least 5 s", records(0), 0, 5 * time.Second},
		{"R-23 at most 24 h", records(100 * time.Hour), 0, 24 * time.Hour},
		{"R-23 lowered by configuration", records(time.Hour), time.Minute, time.Minute},
		{"R-23 never raised by configuration", records(100 * time.Hour), 48 * time.Hour, 24 * time.Hour},
		{"R-23 open end of an alias chain", dnsquery.Answer{Open: true, TTL: 0}, 0, 5 * time.Second},
		{"R-24 NXDOMAIN", dnsquery.Answer{NoName: true, TTL: time.Minute}, 0, time.Minute},
		{"R-24 NODATA", dnsquery.Answer{TTL: time.Minute}, 0, time.Minute},
		{"R-24 at most 1 h", dnsquery.Answer{TTL: 3 * time.Hour}, 0, time.Hour},
		{"R-24 without SOA", dnsquery.Answer{}, 0, 0},
		{"R-24 lowered by configuration", dnsquery.Answer{TTL: time.Hour}, time.Minute, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := &clock{time.Unix(1000, 0)}
			cache := New(Options{Entries: 10, MaxTTL: c.max, Now: at.Now})
			src := &source{give: func(dnsquery.Question) (*dnsquery.Answer, error) { a := c.answer; return &a, nil }}
			q := stack(cache, src)
			a := mustAsk(t, q, question("x.test"))
			if got := a.Expires.Sub(a.Asked()); got != c.want || !a.Asked().Equal(at.now) {
				t.Fatalf("kept for %s from %s, want %s", got, a.Asked(), c.want)
			}
			if c.want == 0 {
				if mustAsk(t, q, question("x.test")); src.asked.Load() != 2 || cache.Len() != 0 {
					t.Error("kept, want it asked anew each time")
				}
				return
			}
			at.now = at.now.Add(c.want - 1)
			if mustAsk(t, q, question("x.test")); src.asked.Load() != 1 {
				t.Error("asked again before it expired")
			}
			at.now = at.now.Add(1)
			if mustAsk(t, q, question("x.test")); src.asked.Load() != 2 {
				t.Error("R-26: served after it expired")
			}
		})
	}
}

func TestR26_FailureToRefreshIsNotHidden(t *testing.T) {
	at := &clock{time.Unix(1000, 0)}
	broken := errors.New("no server")
	src := &source{give: func(dnsquery.Question) (*dnsquery.Answer, error) {
		return &dnsquery.Answer{MX: mx("a.test"), TTL: time.Minute}, nil
	}}
	q := stack(New(Options{Entries: 10, Now: at.Now}), src)
	mustAsk(t, q, question("x.test"))
	src.give = func(dnsquery.Question) (*dnsquery.Answer, error) { return nil, broken }
	at.now = at.now.Add(time.Minute)
	if _, err := q.Query(t.Context(), question("x.test")); !errors.Is(err, broken) {
		t.Errorf("error %v, want that of the source: no stale answers", err)
	}
}

func TestR27_OldestIsEvicted(t *testing.T) {
	at := &clock{time.Unix(1000, 0)}
	src := &source{give: func(dnsquery.Question) (*dnsquery.Answer, error) {
		return &dnsquery.Answer{MX: mx("a.test"), TTL: time.Hour}, nil
	}}
	cache := New(Options{Entries: 3, Now: at.Now})
	q := stack(cache, src)
	for _, name := range []string{"a", "b", "c", "d"} {
		mustAsk(t, q, question(name))
		if cache.Len() > 3 {
			t.Fatalf("%d entries", cache.Len())
		}
	}
	before := src.asked.Load()
	for _, name := range []string{"d", "c", "b"} {
		mustAsk(t, q, question(name))
	}
	if src.asked.Load() != before {
		t.Error("one of the youngest was evicted")
	}
	if mustAsk(t, q, question("a")); src.asked.Load() != before+1 {
		t.Error("the oldest was not evicted")
	}
}

func TestFreshQuestionIsAskedAndKept(t *testing.T) {
	n := 0
	src := &source{give: func(dnsquery.Question) (*dnsquery.Answer, error) {
		n++
		return &dnsquery.Answer{MX: mx(fmt.Sprintf("mx%d.test", n)), TTL: time.Hour}, nil
	}}
	q := stack(New(Options{Entries: 3}), src)
	mustAsk(t, q, question("a"))
	fresh := question("a")
	fresh.Fresh = true
	if got := mustAsk(t, q, fresh).MX[0].Host; got != "mx2.test" {
		t.Errorf("fresh answer %s", got)
	}
	if got := mustAsk(t, q, question("a")).MX[0].Host; got != "mx2.test" {
		t.Errorf("answer after it %s, want the fresh one", got)
	}
}

func TestFlush(t *testing.T) {
	src := &source{give: func(dnsquery.Question) (*dnsquery.Answer, error) {
		return &dnsquery.Answer{MX: mx("a.test"), TTL: time.Hour}, nil
	}}
	cache := New(Options{Entries: 10})
	q := stack(cache, src)
	for _, name := range []string{"a", "b", "c"} {
		mustAsk(t, q, question(name))
	}
	mustAsk(t, q, dnsquery.Question{Name: "b", Type: dnsquery.TypeA})
	if n := cache.Flush("b"); n != 2 || cache.Len() != 2 {
		t.Errorf("flushed %d, %d left, want 2 and 2", n, cache.Len())
	}
	if n := cache.Flush("b"); n != 0 {
		t.Errorf("flushed %d the second time", n)
	}
	if n := cache.Flush(""); n != 2 || cache.Len() != 0 {
		t.Errorf("flushed %d, %d left, want everything gone", n, cache.Len())
	}
	mustAsk(t, q, question("a"))
	if cache.Len() != 1 {
		t.Error("not usable after a flush")
	}
}

// Many callers at once, joined late or early, ask each question once.
func TestR27_EachQuestionOnce(t *testing.T) {
	src := &source{give: func(q dnsquery.Question) (*dnsquery.Answer, error) {
		return &dnsquery.Answer{Name: q.Name, MX: mx("mx." + q.Name), TTL: time.Hour}, nil
	}}
	cache := New(Options{Entries: 1000})
	q := cache.Over(inflight.New(cache.Keep(src)))
	const names, callers = 100, 2000
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			name := fmt.Sprintf("n%d.test", i%names)
			a, err := q.Query(t.Context(), question(name))
			if err != nil || a.Name != name {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
		})
	}
	wg.Wait()
	if n := src.asked.Load(); n != names {
		t.Errorf("%d questions asked for %d names", n, names)
	}
}
