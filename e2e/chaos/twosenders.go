// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/kit/crashpoint"
)

// twoSenders is a stand-alone nats-server, gateway, resolver, dsn and two senders, one of which comes to harm.
type twoSenders struct {
	*world
	lease    time.Duration
	natsPort int
	natsURL  string
	resolver string
	wires    map[string]*wire
}

var (
	senders = []string{"sender-1", "sender-2"}
	others  = []string{"gateway", "nats-server", "dsn", "resolver"}
)

func (s *twoSenders) start(lease time.Duration) {
	s.t.Helper()
	s.lease = lease
	_, port, err := net.SplitHostPort(freePort(s.t))
	s.must(err)
	s.natsPort, err = strconv.Atoi(port)
	s.must(err)
	s.natsURL = s.suite.StartNATS(s.t, s.natsPort)
	s.resolver = freePort(s.t)
	s.wires = map[string]*wire{}
	for _, name := range senders {
		s.wires[name] = newWire(s.t, strings.TrimPrefix(s.natsURL, "nats://"))
	}
	s.settle()
}

// launch starts one process.
func (s *twoSenders) launch(name string, env ...string) *suite.Process {
	s.t.Helper()
	if name == "nats-server" {
		s.suite.StartNATS(s.t, s.natsPort)
		return s.suite.Processes[name]
	}
	settings := suite.Settings{
		"queue.lease_ttl": s.lease.String(), "queue.partitions": 8, "nats.url": s.natsURL, "nats.replicas": 1,
		"resolver.listen": s.resolver, "sender.resolver_address": s.resolver, "sender.listen": "127.0.0.1:0",
		"dsn.listen": "127.0.0.1:0", "dsn.gateway_address": s.gateway,
	}
	program := name
	if w := s.wires[name]; w != nil {
		program = "sender"
		settings["nats.url"] = "nats://" + w.addr()
	}
	return s.suite.Launch(s.t, program, name, settings, env...)
}

func (s *twoSenders) round(i int, random *rand.Rand) {
	s.t.Helper()
	victim := senders[random.IntN(len(senders))]
	time.Sleep(between(random, shortLife, longLife))
	switch i % 6 {
	case 0, 3:
		s.kill(victim, between(random, 0, 2*shortLease))
	case 1:
		s.done["stop"]++
		s.suite.Processes[victim].Signal(syscall.SIGSTOP)
		time.Sleep(between(random, 100*time.Millisecond, 3*shortLease))
		s.suite.Processes[victim].Signal(syscall.SIGCONT)
	case 2:
		s.atPoint(victim, pointsOf("sender"), i/6, random)
	case 4:
		s.cutOff(s.wires[victim], i, random)
	case 5:
		if name := others[i/6%len(others)]; i/6%2 == 0 {
			s.kill(name, between(random, 0, shortLease))
		} else {
			name = []string{"gateway", "dsn"}[i/12%2]
			s.atPoint(name, pointsOf(name), i/24, random)
		}
	}
}

// kill kills a process and starts it again after a while.
func (s *twoSenders) kill(name string, after time.Duration) {
	s.t.Helper()
	s.done["kill "+name]++
	s.crash(name)
	time.Sleep(after)
	s.launch(name)
}

// cutOff takes a sender's way to the store away for a while.
func (s *twoSenders) cutOff(w *wire, i int, random *rand.Rand) {
	away := between(random, 100*time.Millisecond, 3*shortLease)
	if i/6%2 == 0 {
		s.done["cut"]++
		w.cut()
		time.Sleep(away)
		w.mend()
		return
	}
	s.done["freeze"]++
	w.freeze()
	time.Sleep(away)
	w.melt()
}

// atPoint starts a process anew so that it ends at a chosen point.
func (s *twoSenders) atPoint(name string, points []string, turn int, random *rand.Rand) {
	s.t.Helper()
	s.crash(name)
	point := points[turn%len(points)]
	p := s.launch(name, crashAt(point, random))
	if p.ServingOrGone(s.t) && strings.HasPrefix(point, "sender.last.") {
		time.Sleep(between(random, shortLife, longLife))
		p.Signal(syscall.SIGTERM)
	}
	s.reached(name, point)
	s.launch(name)
}

// further starts everything anew with the default lease, kills a sender, and waits until the other has its partitions.
func (s *twoSenders) further(random *rand.Rand) {
	s.t.Helper()
	s.lease = defaultLease
	for _, name := range append(slices.Clone(senders), "gateway", "dsn") {
		s.crash(name)
	}
	s.settle()
	time.Sleep(between(random, shortLife, longLife))
	s.done["kill, default lease"]++
	s.crash(senders[0])
	time.Sleep(defaultLease + shortLease)
	s.launch(senders[0])
}

// settle starts what does not run, and waits for it.
func (s *twoSenders) settle() {
	s.t.Helper()
	for _, name := range append([]string{"nats-server", "resolver", "gateway", "dsn"}, senders...) {
		p := s.suite.Processes[name]
		if p == nil || exited(p) {
			p = s.launch(name)
		}
		if name != "nats-server" {
			p.Serving(s.t)
		}
	}
}

func (s *twoSenders) store() string {
	s.t.Helper()
	for _, name := range append(slices.Clone(senders), "dsn", "gateway", "resolver") {
		s.suite.Processes[name].Stop(s.t)
	}
	return s.natsURL
}

// pointsOf are the points of some services that load comes by.
func pointsOf(services ...string) []string {
	return slices.DeleteFunc(crashpoint.All(), func(point string) bool {
		service, _, _ := strings.Cut(point, ".")
		return !slices.Contains(services, service) || strings.HasPrefix(point, "sender.park.") || strings.HasPrefix(point, "sender.move.")
	})
}
