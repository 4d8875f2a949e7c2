// SPDX-License-Identifier: Apache-2.0

package retryschedule

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postrider/postrider/kit/config"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

var accepted = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestQ01_Pauses(t *testing.T) {
	c := Default()
	now := accepted
	var minutes []int
	inFirstHour := 0
	for attempt := uint32(1); attempt <= 9; attempt++ {
		if now.Sub(accepted) < time.Hour {
			inFirstHour++
		}
		plan := c.Next(Situation{Attempt: attempt, AcceptedAt: accepted, Now: now})
		minutes = append(minutes, int(plan.Pause.Minutes()))
		now = now.Add(plan.Pause)
	}
	want := []int{5, 10, 20, 40, 80, 160, 240, 240, 240}
	for i, m := range want {
		if minutes[i] != m {
			t.Fatalf("pauses %v, want %v", minutes, want)
		}
	}
	if inFirstHour < 2 {
		t.Errorf("%d attempts in the first hour", inFirstHour)
	}
	if got := c.Next(Situation{AcceptedAt: accepted, Now: accepted}).Pause; got != 5*time.Minute {
		t.Errorf("attempt 0: %s", got)
	}
	if got := c.Next(Situation{Attempt: 1, AcceptedAt: accepted, Now: accepted, Jitter: 30 * time.Second}).Pause; got != 330*time.Second {
		t.Errorf("with jitter: %s", got)
	}
}

func TestQ03_Expiry(t *testing.T) {
	c := Default()
	const day = 24 * time.Hour
	for name, s := range map[string]struct {
		age     time.Duration
		null    bool
		expired bool
		pause   time.Duration
	}{
		"long before":                {day, false, false, 4 * time.Hour},
		"the pause ends at expiry":   {5*day - 3*time.Hour, false, false, 3 * time.Hour},
		"a minute is left":           {5*day - time.Minute, false, false, time.Minute},
		"less than a minute is left": {5*day - time.Minute + 1, false, true, 0},
		"over":                       {6 * day, false, true, 0},
		"null sender":                {2 * day, true, true, 0},
		"null sender, before":        {2*day - 2*time.Hour, true, false, 2 * time.Hour},
		"clock set back":             {-day, false, false, 4 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			plan := c.Next(Situation{Attempt: 20, AcceptedAt: accepted, Now: accepted.Add(s.age), NullSender: s.null})
			if plan.Expired != s.expired || plan.Pause != s.pause {
				t.Errorf("got %+v", plan)
			}
		})
	}
	if got := c.ExpiresAt(accepted, false); !got.Equal(accepted.Add(5 * day)) {
		t.Errorf("expires at %s", got)
	}
	if got := c.ExpiresAt(accepted, true); !got.Equal(accepted.Add(2 * day)) {
		t.Errorf("null sender expires at %s", got)
	}
}

func TestS47_AmbiguousPauses(t *testing.T) {
	c := Default()
	for n, want := range map[uint32]Plan{
		1: {Pause: 10 * time.Minute}, 2: {Pause: 10 * time.Minute}, 3: {Pause: 4 * time.Hour}, 5: {Pause: 4 * time.Hour},
		6: {Expired: true}, 7: {Expired: true},
	} {
		if got := c.Next(Situation{Attempt: 1, AcceptedAt: accepted, Now: accepted, Ambiguous: n}); got != want {
			t.Errorf("%d in a row: %+v, want %+v", n, got, want)
		}
	}
	if got := c.Next(Situation{Attempt: 5, AcceptedAt: accepted, Now: accepted, Ambiguous: 1}); got.Pause != 80*time.Minute {
		t.Errorf("the schedule's longer pause: %+v", got)
	}
}

func TestQ04_DelayNotice(t *testing.T) {
	c := Default()
	delay, failure, never := eventv1.Notify_NOTIFY_DELAY, eventv1.Notify_NOTIFY_FAILURE, eventv1.Notify_NOTIFY_NEVER
	for name, s := range map[string]struct {
		r    *eventv1.Recipient
		age  time.Duration
		null bool
		want bool
	}{
		"at four hours":   {&eventv1.Recipient{}, 4 * time.Hour, false, true},
		"before":          {&eventv1.Recipient{}, 4*time.Hour - 1, false, false},
		"never a second":  {&eventv1.Recipient{DelayNoticed: true}, 5 * time.Hour, false, false},
		"NOTIFY=DELAY":    {&eventv1.Recipient{Notify: []eventv1.Notify{failure, delay}}, 5 * time.Hour, false, true},
		"NOTIFY=FAILURE":  {&eventv1.Recipient{Notify: []eventv1.Notify{failure}}, 5 * time.Hour, false, false},
		"NOTIFY=NEVER":    {&eventv1.Recipient{Notify: []eventv1.Notify{never}}, 5 * time.Hour, false, false},
		"D-03: to nobody": {&eventv1.Recipient{}, 5 * time.Hour, true, false},
	} {
		if got := c.DelayNoticeDue(s.r, accepted, accepted.Add(s.age), s.null); got != s.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestS15_GreetingRefusedForGood(t *testing.T) {
	c := Default()
	old := accepted.Add(2 * time.Hour)
	if c.GreetingRefusedFinal(10, accepted, old) {
		t.Error("bounced though configured to defer")
	}
	c.Greeting5xx = Greeting5xxBounce
	if !c.GreetingRefusedFinal(3, accepted, old) || c.GreetingRefusedFinal(2, accepted, old) ||
		c.GreetingRefusedFinal(3, accepted, accepted.Add(59*time.Minute)) {
		t.Error("not after three attempts over an hour")
	}
}

// Pauses under a minute, as tests and labs have them, also shorten the least time worth waiting for.
func TestQ01_PausesUnderAMinute(t *testing.T) {
	c := Default()
	c.Pauses, c.ExpireAfter = []config.Duration{config.Duration(time.Second)}, config.Duration(10*time.Second)
	for age, want := range map[time.Duration]Plan{
		0: {Pause: time.Second}, 9 * time.Second: {Pause: time.Second}, 9500 * time.Millisecond: {Expired: true},
	} {
		if got := c.Next(Situation{Attempt: 3, AcceptedAt: accepted, Now: accepted.Add(age)}); got != want {
			t.Errorf("after %s: %+v, want %+v", age, got, want)
		}
	}
}

// Whatever the situation, there is either a wait of at least a minute that ends by the expiry, or an end.
func TestPropertyPausesAreWithinTheTimeLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Default()
		c.Pauses = nil
		for _, m := range rapid.SliceOfN(rapid.IntRange(1, 1440), 0, 9).Draw(t, "pauses") {
			c.Pauses = append(c.Pauses, config.Duration(time.Duration(m)*time.Minute))
		}
		s := Situation{
			Attempt: rapid.Uint32().Draw(t, "attempt"), AcceptedAt: accepted, NullSender: rapid.Bool().Draw(t, "null"),
			Now:       accepted.Add(time.Duration(rapid.Int64Range(-1e15, 1e15).Draw(t, "age"))),
			Ambiguous: rapid.Uint32Range(0, 8).Draw(t, "ambiguous"),
			Jitter:    time.Duration(rapid.Int64Range(-1e12, 1e12).Draw(t, "jitter")),
		}
		plan := c.Next(s)
		left := c.ExpiresAt(s.AcceptedAt, s.NullSender).Sub(s.Now)
		switch {
		case plan.Expired && plan.Pause != 0:
			t.Fatalf("expired with a pause: %+v", plan)
		case plan.Expired && left >= time.Minute && s.Ambiguous < 6:
			t.Fatalf("expired with %s left", left)
		case !plan.Expired && (plan.Pause < time.Minute || plan.Pause > left):
			t.Fatalf("pause %s with %s left", plan.Pause, left)
		}
	})
}

func TestValidate(t *testing.T) {
	good := Default()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for key, change := range map[string]func(*Config){
		"sender.retry.pauses":             func(c *Config) { c.Pauses = nil },
		"sender.retry.pauses[1]":          func(c *Config) { c.Pauses[1] = config.Duration(time.Millisecond) },
		"sender.retry.expire_after":       func(c *Config) { c.ExpireAfter = 0 },
		"sender.retry.expire_after_null":  func(c *Config) { c.ExpireAfterNull = 0 },
		"sender.retry.delay_notice_after": func(c *Config) { c.DelayNoticeAfter = config.Duration(90 * 24 * time.Hour) },
		"sender.retry.ambiguous_pause":    func(c *Config) { c.AmbiguousPause = 0 },
		"sender.retry.greeting_5xx":       func(c *Config) { c.Greeting5xx = "maybe" },
	} {
		bad := Default()
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%s: %v", key, err)
		}
	}
}
