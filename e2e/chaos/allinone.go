// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider/e2e/suite"
)

const (
	// shortLife and longLife bound how long a process lives from the moment it serves.
	shortLife, longLife = 100 * time.Millisecond, 3 * time.Second
	// pointWithin is how long a chosen point is waited for.
	pointWithin = 8 * time.Second
	// manyHits bounds how often a point under load is passed before it is the one.
	manyHits = 60
	// stopWithin is how long a process may take to end when asked.
	stopWithin = 45 * time.Second
)

// allInOne is one process that is killed again and again.
type allInOne struct {
	*world
	lease time.Duration
}

// one is the name of the program and of the process.
const one = "postrider"

func (a *allInOne) process() *suite.Process { return a.suite.Processes[one] }

func (a *allInOne) start(lease time.Duration) { a.lease = lease }

func (a *allInOne) launch(env ...string) {
	a.t.Helper()
	a.suite.Launch(a.t, one, one, suite.Settings{"queue.lease_ttl": a.lease.String()}, env...)
}

func (a *allInOne) round(i int, random *rand.Rand) {
	a.t.Helper()
	life := between(random, shortLife, longLife)
	if i%3 == 2 {
		points := pointsOf("gateway", "sender", "dsn")
		a.atPoint(points[i/3%len(points)], life, random)
		return
	}
	a.launch()
	a.process().ServingOrGone(a.t)
	time.Sleep(life)
	if i%6 == 4 {
		a.done["stop"]++
		a.process().Signal(syscall.SIGSTOP)
		time.Sleep(between(random, 200*time.Millisecond, 2*shortLease))
		a.process().Signal(syscall.SIGCONT)
		time.Sleep(between(random, 0, shortLease))
	}
	a.done["kill"]++
	a.crash(one)
}

// atPoint lets the process end at a chosen point.
func (a *allInOne) atPoint(point string, life time.Duration, random *rand.Rand) {
	a.t.Helper()
	a.launch(crashAt(point, random))
	served := a.process().ServingOrGone(a.t)
	if served && strings.HasPrefix(point, "sender.last.") {
		time.Sleep(life)
		a.process().Signal(syscall.SIGTERM)
	}
	a.reached(one, point)
}

func (a *allInOne) further(random *rand.Rand) (done bool) {
	a.t.Helper()
	a.lease = defaultLease
	for range 2 {
		a.launch()
		a.process().ServingOrGone(a.t)
		time.Sleep(between(random, shortLife, longLife))
		a.done["kill, default lease"]++
		a.crash(one)
	}
	return true
}

func (a *allInOne) settle() {
	a.t.Helper()
	a.launch()
	a.process().Serving(a.t)
}

func (a *allInOne) store() string {
	a.t.Helper()
	a.process().Stop(a.t)
	return a.suite.StartNATS(a.t, 0)
}

// reached waits for a process to end at a point, and kills it when it does not come there.
func (w *world) reached(name, point string) {
	w.t.Helper()
	limit := pointWithin
	if strings.HasPrefix(point, "sender.last.") {
		limit = stopWithin
	}
	w.reachedWithin(name, point, limit)
}

func (w *world) reachedWithin(name, point string, limit time.Duration) {
	w.t.Helper()
	p := w.suite.Processes[name]
	select {
	case <-p.Exited():
		if p.Killed() {
			w.done["kill at a point"]++
			w.points[point]++
			return
		}
		if strings.HasPrefix(point, "sender.last.") { // it was told to stop, and had no partition to leave
			w.points[point+" (not reached)"]++
			return
		}
	case <-time.After(limit):
	}
	w.done["kill"]++
	w.points[point+" (not reached)"]++
	w.crash(name)
}

// crashAt chooses the hit of a point: the first of those that a process passes now and then, any of those under load.
func crashAt(point string, random *rand.Rand) string {
	n := 1
	for _, often := range []string{"gateway.accept", "sender.outcome", "sender.retry", "dsn.submit", "dsn.cursor"} {
		if strings.HasPrefix(point, often) {
			n += random.IntN(manyHits)
		}
	}
	if strings.HasPrefix(point, "dsn.") || strings.HasPrefix(point, "sender.retry.") {
		n = 1 + n/10
	}
	return crashAtHit(point, n)
}

// crashAtHit lets a process end at the n-th hit of a point.
func crashAtHit(point string, n int) string { return fmt.Sprintf("POSTRIDER_CRASH_AT=%s:%d", point, n) }
