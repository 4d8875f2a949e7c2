// SPDX-License-Identifier: Apache-2.0

//go:build load

package load

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// testDeadDomain: 10,000 messages to a domain whose host refuses every connection, then 100 to good ones, which are out
// within two seconds of their submission.
func testDeadDomain(t *testing.T) { behindABadDomain(t, dead) }

// testSilentDomain is the same with a host that accepts every connection and says nothing.
func testSilentDomain(t *testing.T) { behindABadDomain(t, silent) }

func behindABadDomain(t *testing.T, bad string) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	domains := map[string]string{"bad.example": bad}
	var others []letter
	for i := range 100 {
		domain := fmt.Sprintf("good%d.example", i%10)
		domains[domain] = good
		others = append(others, letter{to: fmt.Sprintf("r%d@%s", i, domain)})
	}
	w := start(t, domains, nil)
	// Connections and routes to the good ones are not part of what is measured.
	w.arrived(ctx, t, w.submit(ctx, t, letters(10, "warm", "good0.example")))

	began := time.Now()
	w.submit(ctx, t, letters(number(t, "LOAD_MESSAGES", 10_000), "b", "bad.example"))
	flooded := time.Since(began)
	accepted := w.submit(ctx, t, others)
	w.arrived(ctx, t, accepted)
	longest, _ := w.latest(accepted)
	t.Logf(`{"case": %q, "flood_seconds": %.2f, "good_longest_seconds": %.3f}`, t.Name(), flooded.Seconds(), longest.Seconds())
	if longest > 2*time.Second {
		t.Errorf("a good message took %s", longest)
	}
}

// testNewsletter: 20,000 bulk messages of one tenant and then an urgent one of another to the same site, which is out
// within a second.
func testNewsletter(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	w := start(t, map[string]string{"site.example": good}, nil)
	w.arrived(ctx, t, w.submit(ctx, t, letters(10, "warm", "site.example")))
	news := letters(number(t, "LOAD_MESSAGES", 20_000), "n", "site.example")
	for i := range news {
		news[i].tenant, news[i].priority = "news", eventv1.Priority_PRIORITY_BULK
	}
	w.submit(ctx, t, news)
	w.arrivals.mu.Lock()
	before := len(w.arrivals.at)
	w.arrivals.mu.Unlock()
	accepted := w.submit(ctx, t, []letter{{to: "urgent@site.example", tenant: "bank", priority: eventv1.Priority_PRIORITY_URGENT}})
	w.arrived(ctx, t, accepted)
	longest, _ := w.latest(accepted)
	t.Logf(`{"case": %q, "delivered_before": %d, "urgent_seconds": %.3f}`, t.Name(), before, longest.Seconds())
	if before >= len(news) {
		t.Errorf("nothing of the newsletter was left to wait behind")
	}
	if longest > time.Second {
		t.Errorf("the urgent message took %s", longest)
	}
}

// testSickDomains: 100 healthy domains of 1,000 messages each, by turns with ten more healthy ones and with ten sick ones
// of as many among them, in the same process: as much is accepted, and what else the machine does falls on both. The
// throughput of the hundred is the same within a tenth.
func testSickDomains(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	const healthy, sick = 100, 10
	pairs := number(t, "LOAD_PAIRS", 3)
	each := number(t, "LOAD_EACH", 1000) / pairs
	domains := make(map[string]string)
	for i := range healthy {
		domains[fmt.Sprintf("good%d.example", i)] = good
	}
	for i := range sick {
		domains[fmt.Sprintf("sick%d.example", i)] = []string{silent, dead}[i%2]
		domains[fmt.Sprintf("well%d.example", i)] = good
	}
	w := start(t, domains, nil)
	run := 0
	turn := func(withSick bool) time.Duration {
		others := map[bool]string{false: "well", true: "sick"}[withSick]
		run++
		var list []letter
		for n := range each {
			for i := range healthy {
				list = append(list, letter{to: fmt.Sprintf("r%d-%d@good%d.example", run, n, i)})
			}
			for i := range sick {
				list = append(list, letter{to: fmt.Sprintf("s%d-%d@%s%d.example", run, n, others, i)})
			}
		}
		accepted := w.submit(ctx, t, list)
		for to := range accepted {
			if strings.HasPrefix(to, "s") {
				delete(accepted, to)
			}
		}
		w.arrived(ctx, t, accepted)
		_, took := w.latest(accepted)
		return took
	}
	turn(false) // connections and routes
	var alone, among time.Duration
	for i := range pairs {
		first := turn(i%2 == 1)
		second := turn(i%2 == 0)
		if i%2 == 1 {
			first, second = second, first
		}
		t.Logf("pair %d: %.2f s alone, %.2f s among sick ones", i+1, first.Seconds(), second.Seconds())
		alone, among = alone+first, among+second
	}
	messages := float64(pairs * healthy * each)
	t.Logf(`{"case": %q, "alone_per_second": %.0f, "among_sick_per_second": %.0f, "share": %.3f}`,
		t.Name(), messages/alone.Seconds(), messages/among.Seconds(), alone.Seconds()/among.Seconds())
	if alone.Seconds() < 0.9*among.Seconds() {
		t.Errorf("among sick domains healthy ones get %.0f%% of their throughput", 100*alone.Seconds()/among.Seconds())
	}
}
