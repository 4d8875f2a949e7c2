// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

var refused = &eventv1.Failure{Stage: eventv1.Stage_STAGE_CONNECT, Reason: "connect"}

// fail lets the next attempts of a domain reach nobody.
func fail(t *testing.T, l *Lanes[string], domain string, times int) {
	t.Helper()
	for range times {
		r := l.next()
		if r == nil {
			t.Fatal("nothing may start")
		}
		l.Report(domain, refused)
		r.Done()
	}
}

func TestQ15_DownAfterThreeAttemptsInARow(t *testing.T) {
	l := lanesOf(20, 100)
	push(l, 10, "dead.example", "", prioNormal)
	fail(t, l, "dead.example", 2)
	r := l.next()
	l.Report("dead.example", nil) // a host answered
	r.Done()
	fail(t, l, "dead.example", 2)
	if s := l.Snapshot("dead.example")[0]; s.Down || s.LastFailure != refused {
		t.Fatalf("down after two in a row: %+v", s)
	}
	fail(t, l, "dead.example", 1)
	if l.next() != nil {
		t.Error("an attempt starts at a site that is down")
	}
	if s := l.Snapshot("dead.example")[0]; !s.Down || s.NextProbe < 50*time.Second || s.NextProbe > time.Minute {
		t.Errorf("%+v", s)
	}
	push(l, 1, "good.example", "", prioNormal)
	if r := l.next(); r == nil || r.Key.Site != "good.example" {
		t.Error("another site suffers")
	}
}

func TestQ15_OneProbeAtATimeAndWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lanesOf(20, 100)
		push(l, 20, "dead.example", "", prioNormal)
		fail(t, l, "dead.example", downAfter)
		for _, minutes := range []time.Duration{1, 2, 5, 10, 15, 15, 15} {
			began := time.Now()
			r, err := l.Take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(began); waited != minutes*time.Minute {
				t.Errorf("probed after %s, want %d min", waited, minutes)
			}
			time.Sleep(10 * time.Minute) // a probe that takes long
			if l.next() != nil {
				t.Error("two probes at once")
			}
			l.Report("dead.example", refused)
			r.Done()
		}
		// The first success opens the lane.
		r, err := l.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l.Report("dead.example", nil)
		r.Done()
		for range 2 {
			if l.next() == nil {
				t.Error("nothing goes after a success")
			}
		}
		if l.Snapshot("")[0].Down {
			t.Error("still down after a success")
		}
	})
}

// An attempt that was under way when the site went down is no probe.
func TestQ15_LateFailuresDoNotPushTheProbeAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lanesOf(20, 100)
		push(l, 20, "dead.example", "", prioNormal)
		var late []*Run[string]
		for range 5 {
			late = append(late, l.next())
		}
		fail(t, l, "dead.example", downAfter)
		for _, r := range late {
			l.Report("dead.example", refused)
			r.Done()
		}
		if s := l.Snapshot("")[0]; s.NextProbe != time.Minute {
			t.Errorf("next probe in %s", s.NextProbe)
		}
		// A probe that tries no host, as when DNS is away, is made again a minute later.
		probe, err := l.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		probe.Done()
		if s := l.Snapshot("")[0]; s.NextProbe != time.Minute || l.next() != nil {
			t.Errorf("next probe in %s", s.NextProbe)
		}
	})
}

func TestQ15_WhatWaitsForASiteThatIsDownIsTakenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lanesOf(20, 100)
		push(l, 10, "dead.example", "", prioBulk)
		push(l, 1, "dead.example", "", prioUrgent)
		push(l, 10, "good.example", "", prioNormal)
		if got := l.TakeDown(all); len(got) != 0 {
			t.Fatalf("%d taken out of lanes that are not down", len(got))
		}
		for range downAfter {
			l.Report("dead.example", refused)
		}
		got := l.TakeDown(all)
		if len(got) != 10 || l.Waiting() != 11 {
			t.Fatalf("%d taken out, %d left", len(got), l.Waiting())
		}
		for _, s := range got {
			if s.Down != refused || s.Wait != time.Minute {
				t.Errorf("%+v", s)
			}
		}
		// What is left to probe is the most urgent.
		time.Sleep(time.Minute + time.Second)
		for {
			if r := l.next(); r.Key.Site == "dead.example" {
				if r.Key.Priority != prioUrgent {
					t.Errorf("the probe is %s", r.Key.Priority)
				}
				break
			}
		}
		if o := l.Outlook("dead.example"); o.Down != refused || o.Wait != time.Minute {
			t.Errorf("while it is probed: %+v", o)
		}
		// Of a site that has been down for a day the mail is not copied every few minutes.
		time.Sleep(24 * time.Hour)
		if o := l.Outlook("dead.example"); o.Wait < 3*time.Hour || o.Wait > longestDown {
			t.Errorf("after a day: %s", o.Wait)
		}
		if o := l.Outlook("good.example"); o.Down != nil || o.Wait != unknownDrain {
			t.Errorf("%+v", o)
		}
		if o := l.Outlook("new.example"); o.Down != nil || o.Wait != 0 {
			t.Errorf("%+v", o)
		}
	})
}

// A probe is due though nothing happens at the lanes in between.
func TestQ15_TakeWakesForAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lanesOf(20, 100)
		for range downAfter {
			l.Report("dead.example", refused)
		}
		push(l, 1, "dead.example", "", prioNormal)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if _, err := l.Take(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestConditionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lanesOf(20, 100)
		name := func(i int) string { return string(rune('a'+i%26)) + time.Duration(i).String() }
		for i := range mostConditions + 10 {
			l.Report(name(i), refused)
		}
		if n := len(l.conditions); n != mostConditions {
			t.Errorf("%d sites remembered", n)
		}
		time.Sleep(forgetAfter + time.Second)
		l.Report("new.example", refused)
		if n := len(l.conditions); n != 1 {
			t.Errorf("%d sites remembered after an hour without a word of them", n)
		}
	})
}
