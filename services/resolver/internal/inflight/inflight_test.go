// SPDX-License-Identifier: Apache-2.0

package inflight

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

type slow struct {
	mu    sync.Mutex
	asked map[dnsquery.Question]int
	err   error
}

func (s *slow) Query(ctx context.Context, q dnsquery.Question) (*dnsquery.Answer, error) {
	s.mu.Lock()
	s.asked[q]++
	s.mu.Unlock()
	select {
	case <-time.After(time.Second):
		return &dnsquery.Answer{Name: q.Name}, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var question = dnsquery.Question{Name: "example.test", Type: dnsquery.TypeMX}

func TestR27_EqualQuestionsAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := &slow{asked: map[dnsquery.Question]int{}}
		g := New(next)
		other := dnsquery.Question{Name: "example.test", Type: dnsquery.TypeA}
		fresh := question
		fresh.Fresh = true
		var wg sync.WaitGroup
		for range 50 {
			for _, q := range []dnsquery.Question{question, other, fresh} {
				wg.Go(func() {
					if a, err := g.Query(t.Context(), q); err != nil || a.Name != "example.test" {
						t.Errorf("%+v, %v", a, err)
					}
				})
			}
		}
		wg.Wait()
		for q, n := range next.asked {
			if n != 1 {
				t.Errorf("%s fresh %t asked %d times", q, q.Fresh, n)
			}
		}
		if len(next.asked) != 3 || len(g.flights) != 0 {
			t.Errorf("%d questions asked, %d flights left", len(next.asked), len(g.flights))
		}
	})
}

func TestFailureReachesEveryone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		g := New(&slow{asked: map[dnsquery.Question]int{}, err: broken})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := g.Query(t.Context(), question); !errors.Is(err, broken) {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
	})
}

// The first caller gives up; those who wait with it still get the answer.
func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := &slow{asked: map[dnsquery.Question]int{}}
		g := New(next)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := g.Query(ctx, question); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("first: %v", err)
			}
		})
		time.Sleep(50 * time.Millisecond)
		wg.Go(func() {
			if _, err := g.Query(t.Context(), question); err != nil {
				t.Errorf("second: %v", err)
			}
		})
		wg.Wait()
		if next.asked[question] != 1 {
			t.Errorf("asked %d times", next.asked[question])
		}
	})
}

type panics struct{}

func (panics) Query(context.Context, dnsquery.Question) (*dnsquery.Answer, error) {
	panic("index out of range")
}

func TestPanicIsAFailure(t *testing.T) {
	g := New(panics{})
	for range 2 {
		var f *dnsquery.Failure
		if _, err := g.Query(t.Context(), question); !errors.As(err, &f) || f.Kind != dnsquery.Temporary {
			t.Errorf("%v, want a temporary failure", err)
		}
	}
}
