// SPDX-License-Identifier: Apache-2.0

package due

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var streams = []int{0, 1, 5, 10, 20, 40, 80, 160, 240}

func TestQ01_WaitIsTheLargestStreamThatFits(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		wanted, left time.Duration
		want         Wait
		ok           bool
	}{
		{5 * time.Minute, 5 * day, Wait{5, 5 * time.Minute}, true},
		{4 * time.Hour, 5 * day, Wait{240, 4 * time.Hour}, true},
		{0, 5 * day, Wait{0, 0}, true},
		{-time.Second, 5 * day, Wait{0, 0}, true},
		{2 * time.Second, 5 * day, Wait{0, 2 * time.Second}, true},
		{90 * time.Second, 5 * day, Wait{1, 90 * time.Second}, true},
		{7 * time.Minute, 5 * day, Wait{5, 7 * time.Minute}, true},
		{9 * time.Hour, 5 * day, Wait{240, 9 * time.Hour}, true},
		{4 * time.Hour, 4 * time.Hour, Wait{240, 4 * time.Hour}, true},
		// Cut by expiry.
		{4 * time.Hour, 165 * time.Minute, Wait{160, 160 * time.Minute}, true},
		{4 * time.Hour, 7 * time.Minute, Wait{5, 5 * time.Minute}, true},
		{4 * time.Hour, time.Minute, Wait{1, time.Minute}, true},
		// Expired.
		{4 * time.Hour, 59 * time.Second, Wait{}, false},
		{2 * time.Second, time.Second, Wait{}, false},
		{0, 0, Wait{}, false},
		{0, -time.Second, Wait{}, false},
	}
	for _, test := range tests {
		got, ok := Plan(streams, test.wanted, test.left)
		if got != test.want || ok != test.ok {
			t.Errorf("wanted %s, %s left: %+v, %v; want %+v, %v", test.wanted, test.left, got, ok, test.want, test.ok)
		}
	}
}

func TestRestOfAWaitIsChainedOrWaitedInMemory(t *testing.T) {
	for rest, want := range map[time.Duration]int{
		5 * time.Hour: 240, time.Hour: 40, time.Minute: 1, 59 * time.Second: 0, 0: 0, -time.Hour: 0,
	} {
		w, chained := Rest(streams, rest)
		if w.Minutes != want || chained != (want > 0) || (chained && w.Pause != rest) {
			t.Errorf("rest %s: %+v, %v", rest, w, chained)
		}
	}
}

func TestNearestStreamIsNeverTheOneWithoutWait(t *testing.T) {
	for d, want := range map[time.Duration]int{
		0: 1, time.Second: 1, 2 * time.Minute: 1, 4 * time.Minute: 5, 31 * time.Minute: 40, 100 * time.Hour: 240,
	} {
		if got := Nearest(streams, d); got != want {
			t.Errorf("nearest to %s is %d, want %d", d, got, want)
		}
	}
}

// The streams' order makes the rest of a wait shorter with each hop, so a chain ends.
func TestEveryWaitEnds(t *testing.T) {
	for _, wanted := range []time.Duration{time.Second, 61 * time.Second, 17 * time.Hour, 30*24*time.Hour + time.Second} {
		w, ok := Plan(streams, wanted, 1000*time.Hour)
		waited, hops := time.Duration(0), 0
		for chained := ok; chained; hops++ {
			if hops > 1000 {
				t.Fatalf("wait of %s does not end", wanted)
			}
			waited += time.Duration(w.Minutes) * time.Minute
			w, chained = Rest(streams, w.Pause-time.Duration(w.Minutes)*time.Minute)
		}
		if rest := wanted - waited; rest < 0 || rest >= time.Minute {
			t.Errorf("wait of %s leaves %s in memory", wanted, rest)
		}
	}
}

func TestDueIsTheServersTimestampPlusTheWait(t *testing.T) {
	now := time.Now()
	server := now.Add(-7 * time.Hour) // a server whose clock is far off
	var l Line
	if got := l.Due(server.Add(-2*time.Minute), 5*time.Minute, server, now); !got.Equal(now.Add(3 * time.Minute)) {
		t.Errorf("due in %s, want 3m", got.Sub(now))
	}
	if got := l.Due(server.Add(-time.Minute), 5*time.Minute, server, now); !got.Equal(now.Add(4 * time.Minute)) {
		t.Errorf("the next is due in %s, want 4m", got.Sub(now))
	}
}

func TestClockSetBackDoesNotHoldMailUp(t *testing.T) {
	const wait = 5 * time.Minute
	now := time.Now()
	stored := now.Round(0) // by the server's old clock, which was then right
	server := stored.Add(-time.Hour + time.Minute)
	now = now.Add(time.Minute)

	var seen Line // of an owner that saw the head before the clock was set back
	head := seen.Due(stored, wait, stored, now.Add(-time.Minute))
	if got := seen.Due(stored.Add(30*time.Second), wait, server, now); !got.Equal(head.Add(30 * time.Second)) {
		t.Errorf("the segment behind a head already seen is due %s after it, want 30s", got.Sub(head))
	}

	var fresh Line // of an owner that was started afterwards
	first := fresh.Due(stored, wait, server, now)
	if got := first.Sub(now); got != wait {
		t.Errorf("a segment from the future waits %s, want %s at most", got, wait)
	}
	last := first
	for i := range 100 {
		last = fresh.Due(stored.Add(time.Duration(i)*time.Second), wait, server, last)
	}
	if got := last.Sub(first); got != 99*time.Second {
		t.Errorf("100 segments stored within 99s come due within %s", got)
	}
	// What was stored after the clock was set back.
	now = last
	server = server.Add(last.Sub(first))
	if got := fresh.Due(server.Add(-time.Minute), wait, server, now).Sub(now); got != 4*time.Minute {
		t.Errorf("a segment stored a minute ago waits %s", got)
	}
}

func TestClockIsCountedOnBetweenAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		asked, fail := 0, error(nil)
		c := NewClock(func(context.Context) (time.Time, error) { asked++; return server, fail }, time.Second)

		fail = errors.New("away")
		if _, err := c.Now(t.Context()); err == nil {
			t.Error("a time without any answer")
		}
		if got := c.Estimate(); !got.Equal(time.Now()) {
			t.Errorf("estimate without any answer: %v", got)
		}
		fail = nil
		check := func(want time.Time, calls int) {
			t.Helper()
			got, err := c.Now(t.Context())
			if err != nil || !got.Equal(want) || asked != calls {
				t.Errorf("%v, %v after %d questions; want %v after %d", got, err, asked, want, calls)
			}
		}
		check(server, 2)
		time.Sleep(500 * time.Millisecond)
		check(server.Add(500*time.Millisecond), 2)
		time.Sleep(time.Second)
		server = server.Add(-time.Hour) // set back
		check(server, 3)
		fail = errors.New("away")
		time.Sleep(10 * time.Second)
		check(server.Add(10*time.Second), 4)
		if got := c.Estimate(); !got.Equal(server.Add(10 * time.Second)) {
			t.Errorf("estimate %v", got)
		}
	})
}
