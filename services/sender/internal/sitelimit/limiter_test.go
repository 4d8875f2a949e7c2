// SPDX-License-Identifier: Apache-2.0

package sitelimit

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// limiter is one with the same configuration for every site.
func limiter(c Config) *Limiter {
	return New(Options{Config: func(string) Config { return c }})
}

func (l *Limiter) succeed(n int) {
	for range n {
		l.Succeeded("site", l.Window("site"))
	}
}

func wantWindow(t *testing.T, l *Limiter, want int) {
	t.Helper()
	if got := l.Window("site"); got != want {
		t.Errorf("window %d, want %d", got, want)
	}
	if got := l.Attempts("site"); got != 2*want {
		t.Errorf("%d attempts, want %d", got, 2*want)
	}
}

func TestS74_TheWindowStartsLowAndGrowsWithSuccess(t *testing.T) {
	l := limiter(Config{Connections: 20})
	wantWindow(t, l, 2)
	l.succeed(1)
	wantWindow(t, l, 3)
	l.succeed(100)
	wantWindow(t, l, 20)
	if got := l.Window("other"); got != 2 {
		t.Errorf("another site has %d", got)
	}
}

func TestS74_AWindowThatIsNotUsedUpDoesNotGrow(t *testing.T) {
	l := limiter(Config{Connections: 20})
	for range 50 {
		l.Succeeded("site", 1)
	}
	wantWindow(t, l, 2)
}

func TestS74_FailureHalvesTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter(Config{Connections: 20})
		l.succeed(30)
		began := time.Now()
		time.Sleep(time.Second)
		l.Failed("site", began)
		wantWindow(t, l, 10)
		l.Failed("site", began) // of the same trouble
		wantWindow(t, l, 10)
		for _, want := range []int{5, 2, 1, 1} {
			time.Sleep(time.Second)
			l.Failed("site", time.Now())
			wantWindow(t, l, want)
			time.Sleep(time.Second)
		}
		l.succeed(1)
		wantWindow(t, l, 2)
		l.succeed(2) // slower than at first
		wantWindow(t, l, 2)
		l.succeed(1)
		wantWindow(t, l, 3)
	})
}

func TestS74_FailureOfANewSite(t *testing.T) {
	l := limiter(Config{Connections: 20})
	l.Failed("site", time.Now())
	wantWindow(t, l, 1)
	l.Reopen("site")
	wantWindow(t, l, 2)
}

func TestS74_NeverMoreThanIsConfigured(t *testing.T) {
	l := limiter(Config{Connections: 1})
	wantWindow(t, l, 1)
	l.succeed(10)
	wantWindow(t, l, 1)
}

func TestS74_SendersShareTheLimit(t *testing.T) {
	senders := 4
	l := New(Options{
		Config: func(string) Config { return Config{Connections: 20} },
		Share:  func(limit int) int { return limit / senders },
	})
	l.succeed(50)
	wantWindow(t, l, 5)
	senders = 40
	wantWindow(t, l, 1) // never none at all
	senders = 1
	wantWindow(t, l, 5) // and grows from there
}

func TestS74_GrowthIsTold(t *testing.T) {
	var grew []string
	l := New(Options{Config: func(string) Config { return Config{Connections: 3} }, Grew: func(site string) { grew = append(grew, site) }})
	l.succeed(5)
	if fmt.Sprint(grew) != "[site]" {
		t.Errorf("told %v", grew)
	}
	l.Failed("site", time.Now())
	l.Reopen("site")
	if fmt.Sprint(grew) != "[site site]" {
		t.Errorf("told %v", grew)
	}
}

func TestS74_TwoConnectionsToAnAddressThatFails(t *testing.T) {
	bad := netip.MustParseAddrPort("192.0.2.1:25")
	l := New(Options{Fails: func(a netip.AddrPort) bool { return a == bad }})
	if n := l.Host(bad); n != 2 {
		t.Errorf("%d", n)
	}
	if n := l.Host(netip.MustParseAddrPort("192.0.2.2:25")); n != 0 {
		t.Errorf("%d", n)
	}
}

func TestSitesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter(Config{Connections: 20})
		for i := range mostSites {
			l.Succeeded(fmt.Sprint(i), 1)
		}
		time.Sleep(forgetAfter)
		l.Succeeded("0", 1)
		time.Sleep(time.Minute)
		l.Succeeded("new", 1)
		if n := len(l.sites); n != 2 {
			t.Errorf("%d sites", n)
		}
	})
}

// through counts what passes in a time when everybody asks all the time.
func through(l *Limiter, d time.Duration, tenants ...string) map[string]int {
	passed := map[string]int{}
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, tenant := range tenants {
			for l.Take("site", tenant) == 0 {
				passed[tenant]++
			}
		}
	}
	return passed
}

func TestS74_Rates(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   map[string]int
	}{
		"one a second":        {Config{Rate: 60}, map[string]int{"a": 60}},
		"site":                {Config{Rate: 600}, map[string]int{"a": 609}},
		"each tenant":         {Config{TenantRate: 60}, map[string]int{"a": 60, "b": 60}},
		"slow":                {Config{Rate: 1}, map[string]int{"a": 1}},
		"the smaller of both": {Config{Rate: 6000, TenantRate: 30}, map[string]int{"a": 30, "b": 30}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tenants []string
				for tenant := range c.want {
					tenants = append(tenants, tenant)
				}
				if got := through(limiter(c.config), time.Minute, tenants...); fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("passed %v, want %v", got, c.want)
				}
			})
		})
	}
}

func TestS74_WaitOfARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter(Config{Rate: 6})
		if wait := l.Take("site", "a"); wait != 0 {
			t.Errorf("the first waits %s", wait)
		}
		if wait := l.Take("site", "a"); wait != 10*time.Second {
			t.Errorf("the second waits %s", wait)
		}
		time.Sleep(10 * time.Second)
		if wait := l.Take("site", "b"); wait != 0 {
			t.Errorf("after its time it waits %s", wait)
		}
		if wait := l.Take("other", "a"); wait != 0 {
			t.Errorf("another site waits %s", wait)
		}
	})
}

func TestS74_NoRate(t *testing.T) {
	l := limiter(Config{})
	for range 1000 {
		if wait := l.Take("site", "a"); wait != 0 {
			t.Fatalf("waits %s", wait)
		}
	}
	if len(l.sites) != 0 {
		t.Error("what has no rate is remembered")
	}
}

func TestS74_SendersShareARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{
			Config: func(string) Config { return Config{Rate: 120} }, Share: func(limit int) int { return limit / 2 },
		})
		if got := through(l, time.Minute, "a"); got["a"] != 60 {
			t.Errorf("passed %v", got)
		}
	})
}

func TestTenantsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter(Config{TenantRate: 60})
		for i := range 100 {
			l.Take("site", fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		l.Take("site", "new")
		if n := len(l.sites["site"].tenants); n != 1 {
			t.Errorf("%d tenants", n)
		}
	})
}
