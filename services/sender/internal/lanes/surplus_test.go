// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func all(string) bool { return true }

// ample is a share that no lane of these tests passes.
var ample = Share{Records: 1 << 20, Bytes: 1 << 40}

// A lane that is fast enough not to be slow, and too full, gives what it holds beyond its share; one that is done within
// a moment gives nothing.
func TestQ12_SurplusOfALaneOverItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			records int
			share   Share
			left    int
		}{
			{4000, Share{1000, 1 << 40}, 1000},
			{4000, Share{10000, 1000 * 2048}, 1000},
			{900, Share{100, 1 << 40}, 900},
			{4000, ample, 4000},
		} {
			l := lanesOf(20, 1000)
			push(l, test.records+1000, "fast.example", "", prioNormal)
			for range 1000 {
				r := l.next()
				time.Sleep(time.Millisecond)
				r.Done()
			}
			surplus := l.TakeSurplus(10000, test.share, all)
			if l.Waiting() != test.left || len(surplus) != test.records-test.left {
				t.Errorf("%d at 1000 a second, share %v: %d taken out, %d left", test.records, test.share, len(surplus), l.Waiting())
			}
			for _, s := range surplus {
				if s.Down != nil || s.Wait < 3*time.Second || s.Wait > 5*time.Second {
					t.Fatalf("expected in %s, down for %v", s.Wait, s.Down)
				}
			}
		}
	})
}

func TestQ12_SurplusOfSlowSitesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lanesOf(20, 1000)
		push(l, 5000, "dead.example", "", prioNormal)
		push(l, 5000, "fast.example", "", prioNormal)
		// Half a second: the dead one takes nothing, the fast one a thousand.
		var hanging []*Run[string]
		for range 2000 {
			r := l.next()
			if r == nil {
				break
			}
			if r.Key.Site == "dead.example" {
				hanging = append(hanging, r)
				continue
			}
			time.Sleep(500 * time.Microsecond)
			r.Done()
		}
		surplus := l.TakeSurplus(10000, ample, all)
		for _, s := range surplus {
			if s.Value[:4] != "dead" {
				t.Fatalf("%s was taken out", s.Value)
			}
			if s.Wait != unknownDrain {
				t.Fatalf("a site that took nothing yet is believed to need %s", s.Wait)
			}
		}
		left := l.Snapshot("dead.example")[0].Waiting
		if left < 40 || left > 100 || len(surplus)+left+len(hanging) != 5000 {
			t.Errorf("%d taken out, %d left, %d run", len(surplus), left, len(hanging))
		}
		if first := surplus[0].Value; first == "dead.example//20" {
			t.Errorf("%s, the next in turn, was taken out", first)
		}
		if got := l.TakeSurplus(10, ample, all); len(got) != 0 {
			t.Errorf("%d more taken out", len(got))
		}
	})
}

func TestSurplusComesFromTheEndAndTheLeastUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lanesOf(1, 10)
		push(l, 100, "dead.example", "big", prioUrgent)
		push(l, 50, "dead.example", "big", prioBulk)
		push(l, 5, "dead.example", "small", prioNormal)
		time.Sleep(time.Minute)
		got := l.TakeSurplus(60, ample, all)
		if len(got) != 60 {
			t.Fatalf("%d taken out", len(got))
		}
		for i, s := range got {
			want := fmt.Sprintf("dead.example/big/%d", i)
			if i >= 50 {
				want = fmt.Sprintf("dead.example/big/%d", 90+i-50)
			}
			if s.Value != want {
				t.Fatalf("%d: %s, want %s", i, s.Value, want)
			}
		}
		if l.Waiting() != 95 {
			t.Errorf("%d wait", l.Waiting())
		}
	})
}

func TestSurplusIsOnlyWhatIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lanesOf(1, 10)
		push(l, 100, "dead.example", "", prioNormal)
		time.Sleep(time.Minute)
		odd := func(v string) bool { return (v[len(v)-1]-'0')%2 == 1 }
		got := l.TakeSurplus(1000, ample, odd)
		if len(got) != 50 {
			t.Errorf("%d taken out", len(got))
		}
		for i := range 50 {
			r := l.next()
			if want := fmt.Sprintf("dead.example//%d", 2*i); r.Value != want {
				t.Fatalf("%s is next, want %s", r.Value, want)
			}
			r.Done()
		}
	})
}

func TestPaceFollowsASite(t *testing.T) {
	now := time.Now()
	var p pace
	p.start(now)
	if d := p.expected(p.drain(1<<20, now)); d != unknownDrain {
		t.Errorf("without a result %s are expected", d)
	}
	for range 1000 {
		now = now.Add(10 * time.Millisecond)
		p.finished(now)
	}
	if d := p.drain(1000, now); d < 9*time.Second || d > 11*time.Second {
		t.Errorf("100 a second, 1000 waiting: %s", d)
	}
	if d := p.drain(1000, now.Add(10*time.Minute)); d < time.Hour {
		t.Errorf("after ten minutes without a result 1000 need %s", d)
	}
}
