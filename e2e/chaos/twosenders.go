// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/kit/crashpoint"
)

// layout is a stand-alone nats-server, or a cluster of three, gateway, resolver, dsn and two senders.
type layout struct {
	*world
	lease    time.Duration
	stores   []suite.Member // one, or the members of a cluster
	natsURL  string
	resolver string
	second   string                 // where a second gateway listens, if there is one
	wires    map[string]*suite.Wire // from a sender to a stand-alone server
}

// twoSenders is a layout in which mostly a sender comes to harm.
type twoSenders struct{ layout }

const secondGateway = "gateway-2"

var (
	senders = []string{"sender-1", "sender-2"}
	others  = []string{"gateway", "nats-server", "dsn", "resolver"}
)

func (s *layout) start(lease time.Duration) {
	s.t.Helper()
	s.lease, s.resolver = lease, freePort(s.t)
	if len(s.stores) == 0 {
		s.stores = []suite.Member{{Name: "nats-server", Port: portOf(s.t, freePort(s.t))}}
	}
	urls := make([]string, len(s.stores))
	for i, m := range s.stores {
		urls[i] = m.URL()
	}
	s.natsURL = strings.Join(urls, ",")
	s.wires = map[string]*suite.Wire{}
	if len(s.stores) == 1 {
		for _, name := range senders {
			s.wires[name] = suite.NewWire(s.t, strings.TrimPrefix(s.natsURL, "nats://"))
		}
	}
	s.settle()
}

func portOf(t testing.TB, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// launch starts one process.
func (s *layout) launch(name string, env ...string) *suite.Process {
	s.t.Helper()
	for _, m := range s.stores {
		if m.Name != name {
			continue
		}
		if len(s.stores) == 1 {
			s.suite.StartNATS(s.t, m.Port)
		} else {
			s.suite.StartMember(s.t, m, s.stores)
		}
		return s.suite.Processes[name]
	}
	settings := suite.Settings{
		"queue.lease_ttl": s.lease.String(), "queue.partitions": partitions, "nats.url": s.natsURL, "nats.replicas": len(s.stores),
		"resolver.listen": s.resolver, "sender.resolver_address": s.resolver, "sender.listen": "127.0.0.1:0",
		"dsn.listen": "127.0.0.1:0", "dsn.gateway_address": s.gateway,
	}
	program := name
	if slices.Contains(senders, name) {
		program = "sender"
	}
	if name == secondGateway {
		program = "gateway"
		settings["gateway.listen"], settings["gateway.view_dir"] = s.second, filepath.Join(s.dir, "suite", name)
	}
	if w := s.wires[name]; w != nil {
		settings["nats.url"] = "nats://" + w.Addr()
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
func (s *layout) kill(name string, after time.Duration) {
	s.t.Helper()
	s.done["kill "+name]++
	s.crash(name)
	time.Sleep(after)
	s.launch(name)
}

// cutOff takes a sender's way to the store away for a while.
func (s *twoSenders) cutOff(w *suite.Wire, i int, random *rand.Rand) {
	away := between(random, 100*time.Millisecond, 3*shortLease)
	if i/6%2 == 0 {
		s.done["cut"]++
		w.Cut()
		time.Sleep(away)
		w.Mend()
		return
	}
	s.done["freeze"]++
	w.Freeze()
	time.Sleep(away)
	w.Melt()
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
func (s *twoSenders) further(random *rand.Rand) (done bool) {
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
	return true
}

// settle starts what does not run, and waits for it.
func (s *layout) settle() {
	s.t.Helper()
	for _, m := range s.stores {
		if p := s.suite.Processes[m.Name]; p == nil || exited(p) {
			s.launch(m.Name)
		}
	}
	for _, name := range append([]string{"resolver", "gateway", "dsn"}, senders...) {
		p := s.suite.Processes[name]
		if p == nil || exited(p) {
			p = s.launch(name)
		}
		p.Serving(s.t)
	}
}

// further is nothing where there is no round with the default lease.
func (s *layout) further(*rand.Rand) (done bool) { return false }

func (s *layout) store() string {
	s.t.Helper()
	for _, name := range append(slices.Clone(senders), "dsn", "gateway", "resolver") {
		s.suite.Processes[name].Stop(s.t)
	}
	return s.natsURL
}

// pointsOf are the points of some services that load comes by: nothing is parked, moved or
// carried, and no notification is joined.
func pointsOf(services ...string) []string {
	aside := []string{"sender.park.", "sender.move.", "sender.carry.", "dsn.join.", "dsn.list.", "dsn.told."}
	return slices.DeleteFunc(crashpoint.All(), func(point string) bool {
		service, _, _ := strings.Cut(point, ".")
		isAside := func(prefix string) bool { return strings.HasPrefix(point, prefix) }
		return !slices.Contains(services, service) || slices.ContainsFunc(aside, isAside)
	})
}
