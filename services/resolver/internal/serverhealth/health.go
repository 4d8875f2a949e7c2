// SPDX-License-Identifier: Apache-2.0

package serverhealth

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
)

// Change is a server or transport that begins to fail or works again.
type Change struct {
	// Server is its address.
	Server netip.AddrPort
	// Transport is udp or tcp; empty is the server as a whole.
	Transport dnstransport.Transport
	// Failing is true when it begins to fail, false when it works again.
	Failing bool
	// Why is the last failure.
	Why dnsquery.Result
	// Since is when the first failure of the row was seen.
	Since time.Time
	// Now is how the server stands behind the change.
	Now Status
}

// Observation is what one use of a server showed.
type Observation struct {
	// Server is the verdict on the server as a whole, Result the word for it.
	Server Verdict
	Result dnsquery.Result
	// UDP and TCP are the verdicts on the transports, each with its word.
	UDP, TCP             Verdict
	UDPResult, TCPResult dnsquery.Result
}

// Status is how a server stands.
type Status struct {
	// Server is its address.
	Server netip.AddrPort
	// Whole, UDP and TCP are how the server as a whole and its transports stand.
	Whole, UDP, TCP Standing
}

// Standing is how a server or one of its transports stands.
type Standing struct {
	// Since is when it began to fail; zero while it works.
	Since time.Time
	// Why is the last failure; empty while it works.
	Why dnsquery.Result
}

// Failing reports that it fails.
func (s Standing) Failing() bool { return !s.Since.IsZero() }

// Probe is something skipped that is due for one probe. An empty transport is the server as a whole.
type Probe struct {
	Server    netip.AddrPort
	Transport dnstransport.Transport
}

// Health is the memory of all servers. It is safe for concurrent use.
type Health struct {
	order   []netip.AddrPort
	now     func() time.Time
	changed func(Change)

	trouble atomic.Bool // some track is skipped: everything else is the quick way
	mu      sync.Mutex
	servers map[netip.AddrPort]*server
}

type server struct{ whole, udp, tcp track }

func (s *server) transport(t dnstransport.Transport) *track {
	if t == dnstransport.TCP {
		return &s.tcp
	}
	return &s.udp
}

func (s *server) status(addr netip.AddrPort) Status {
	return Status{Server: addr, Whole: s.whole.standing(), UDP: s.udp.standing(), TCP: s.tcp.standing()}
}

// New returns a Health for servers in their configured order. changed is called for every Change, one at a time; it
// must not call the Health; nil is allowed. A nil now is time.Now.
func New(servers []netip.AddrPort, now func() time.Time, changed func(Change)) *Health {
	h := &Health{order: servers, now: now, changed: changed, servers: map[netip.AddrPort]*server{}}
	if h.now == nil {
		h.now = time.Now
	}
	if h.changed == nil {
		h.changed = func(Change) {}
	}
	for _, addr := range servers {
		h.servers[addr] = &server{}
	}
	return h
}

// Order returns the servers to ask, in configured order, without those that are skipped; all of them when all are
// skipped. The result must not be changed.
func (h *Health) Order() []netip.AddrPort {
	if !h.trouble.Load() {
		return h.order
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	use := make([]netip.AddrPort, 0, len(h.order))
	for _, addr := range h.order {
		if !h.servers[addr].whole.skipped() {
			use = append(use, addr)
		}
	}
	if len(use) == 0 {
		return h.order
	}
	return use
}

// First returns the transport to begin with at a server: preferred, unless it is skipped and the other is not.
func (h *Health) First(addr netip.AddrPort, preferred dnstransport.Transport) dnstransport.Transport {
	if !h.trouble.Load() {
		return preferred
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.servers[addr]
	if s != nil && s.transport(preferred).skipped() && !s.transport(preferred.Other()).skipped() {
		return preferred.Other()
	}
	return preferred
}

// Due returns what is due for a probe now. Each is returned once in every Pause.
func (h *Health) Due() []Probe {
	if !h.trouble.Load() {
		return nil
	}
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	var due []Probe
	for _, addr := range h.order {
		s := h.servers[addr]
		switch {
		case s.whole.skipped():
			if s.whole.due(now) {
				due = append(due, Probe{Server: addr})
			}
		case s.udp.due(now):
			due = append(due, Probe{Server: addr, Transport: dnstransport.UDP})
		case s.tcp.due(now):
			due = append(due, Probe{Server: addr, Transport: dnstransport.TCP})
		}
	}
	return due
}

// Observe takes what one use of a server showed.
func (h *Health) Observe(addr netip.AddrPort, o Observation) {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.servers[addr]
	if s == nil {
		return
	}
	s.whole.observe(o.Server, o.Result, now)
	s.udp.observe(o.UDP, o.UDPResult, now)
	s.tcp.observe(o.TCP, o.TCPResult, now)
	h.announce(addr, s)
	h.trouble.Store(h.anySkipped())
}

func (h *Health) anySkipped() bool {
	for _, s := range h.servers {
		if s.whole.skipped() || s.udp.skipped() || s.tcp.skipped() {
			return true
		}
	}
	return false
}

// announce tells changes: of the whole server only while all of it fails, else of its transports.
func (h *Health) announce(addr netip.AddrPort, s *server) {
	tell := func(t *track, transport dnstransport.Transport, quiet bool) {
		switch {
		case t.failing() && t.announced.IsZero() && !quiet:
			t.announced = t.since
			h.changed(Change{Server: addr, Transport: transport, Failing: true, Why: t.why, Since: t.since, Now: s.status(addr)})
		case !t.failing() && !t.announced.IsZero():
			h.changed(Change{Server: addr, Transport: transport, Why: t.why, Since: t.announced, Now: s.status(addr)})
			t.announced = time.Time{}
		}
	}
	tell(&s.whole, "", false)
	tell(&s.udp, dnstransport.UDP, s.whole.failing())
	tell(&s.tcp, dnstransport.TCP, s.whole.failing())
}

// Status returns how the servers stand, in configured order.
func (h *Health) Status() []Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Status, 0, len(h.order))
	for _, addr := range h.order {
		all = append(all, h.servers[addr].status(addr))
	}
	return all
}

// Trouble reports that some server or transport is failing.
func (h *Health) Trouble() bool { return h.trouble.Load() }
