// SPDX-License-Identifier: Apache-2.0

package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/testkit/internal/loopback"
)

// idle bounds every read and write of the server.
const idle = 5 * time.Minute

// Options describe a server. The zero value has an empty zone and listens on 127.0.0.1, port 0.
type Options struct {
	Zone *Zone          // nil: no name exists
	Addr netip.AddrPort // zero: 127.0.0.1, port 0; the same port is taken for UDP and TCP
}

// Server is a DNS server. All methods may be called at any time by any goroutine.
type Server struct {
	addr   netip.AddrPort
	closed chan struct{} // closed by Close
	once   sync.Once

	running sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and renewed with every query and connection
	zone    *Zone
	rules   []rule // later ones first
	queries []Query
	faults  []string
	udp     *net.UDPConn
	tcp     *net.TCPListener
	held    map[Transport]*loopback.Reservation // what takes the place of a transport
	conns   map[*net.TCPConn]struct{}
	nconns  int
}

// Start starts a server for a test with the zone written in text (see [ParseZone]). The end of the test closes it and
// fails when the server itself met a fault.
func Start(tb testing.TB, text string) *Server {
	tb.Helper()
	s, err := StartServer(Options{Zone: Parse(tb, text)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// StartServer starts a server outside of tests; the caller calls Close.
func StartServer(o Options) (*Server, error) {
	if !o.Addr.IsValid() {
		o.Addr = netip.MustParseAddrPort("127.0.0.1:0")
	}
	if o.Zone == nil {
		o.Zone = &Zone{}
	}
	udp, tcp, err := loopback.ListenBoth(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("dnstest: %w", err)
	}
	s := &Server{
		addr: loopback.AddrPort(tcp.Addr()), closed: make(chan struct{}), changed: make(chan struct{}),
		zone: o.Zone, udp: udp, tcp: tcp,
		held: map[Transport]*loopback.Reservation{}, conns: map[*net.TCPConn]struct{}{},
	}
	s.running.Go(func() { s.serveUDP(udp) })
	s.running.Go(func() { s.serveTCP(tcp) })
	return s, nil
}

// Addr is the address and port of both transports.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// SetZone replaces what the server knows.
func (s *Server) SetZone(z *Zone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = z
}

// Queries are the queries so far that match, in the order in which they came.
func (s *Server) Queries(m Match) []Query {
	m = m.normal()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.queries), func(q Query) bool { return !m.matches(&q) })
}

// Count is the number of queries so far for a name and type, over both transports.
func (s *Server) Count(name string, typ uint16) int {
	return len(s.Queries(Match{Name: name, Type: typ}))
}

// ForgetQueries drops the queries so far.
func (s *Server) ForgetQueries() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = nil
}

// Connections is the number of TCP connections accepted so far.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nconns
}

// OpenConnections is the number of TCP connections that are open now.
func (s *Server) OpenConnections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// WaitClosed returns once no TCP connection is open.
func (s *Server) WaitClosed(ctx context.Context) error {
	for {
		s.mu.Lock()
		changed, open := s.changed, len(s.conns)
		s.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("dnstest: %d connections are open: %w", open, ctx.Err())
		}
	}
}

// WaitQueries returns the matching queries once there are n.
func (s *Server) WaitQueries(ctx context.Context, m Match, n int) ([]Query, error) {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		got := s.Queries(m)
		if len(got) >= n {
			return got, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return got, fmt.Errorf("dnstest: %d of %d queries for %+v: %w", len(got), n, m, ctx.Err())
		}
	}
}

// touch wakes those who wait. The lock is held.
func (s *Server) touch() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// begin notes a query and gives the honest answer with the behaviours that apply.
func (s *Server) begin(x *Exchange) []Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, x.Query)
	s.touch()
	x.Reply = s.zone.Answer(x.Msg)
	for _, r := range s.rules {
		if r.match.matches(&x.Query) {
			return r.behaviours
		}
	}
	return nil
}

// serve answers one query.
func (s *Server) serve(x *Exchange) {
	for _, b := range s.begin(x) {
		if b(x); x.done {
			return
		}
	}
	x.Send(x.Reply)
}

// fault keeps an error of the server itself for Close.
func (s *Server) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// Close ends the server and waits until nothing of it runs. The error tells of faults of the server itself, such as a
// reply that could not be packed. It may be called more than once.
func (s *Server) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.udp != nil {
			_ = s.udp.Close()
		}
		if s.tcp != nil {
			_ = s.tcp.Close()
		}
		for _, r := range s.held {
			r.Release()
		}
		for c := range s.conns {
			_ = c.Close()
		}
	})
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) > 0 {
		return errors.New("dnstest: " + strings.Join(s.faults, "; "))
	}
	return nil
}

// unpack reads a message of a client.
func unpack(b []byte) (*dns.Msg, bool) {
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil || m.Response {
		return nil, false
	}
	return m, true
}
