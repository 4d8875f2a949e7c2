// SPDX-License-Identifier: Apache-2.0

package dnstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/postrider/postrider/testkit/internal/loopback"
)

func (s *Server) serveUDP(u *net.UDPConn) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error about an earlier answer
		}
		m, ok := unpack(buf[:n])
		if !ok {
			s.fault("UDP from %s: %d octets that are no query", from, n)
			continue
		}
		x := &Exchange{srv: s, Msg: m, Query: newQuery(m, UDP, 0, from), udp: u, peer: from}
		s.running.Go(func() { s.serve(x) })
	}
}

func (s *Server) serveTCP(l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return // closed
		}
		n, ok := s.enter(c)
		if !ok {
			_ = c.Close()
			return
		}
		s.running.Go(func() {
			defer s.leave(c)
			s.serveConn(c, n)
		})
	}
}

func (s *Server) enter(c *net.TCPConn) (n int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return 0, false
	}
	s.nconns++
	s.conns[c] = struct{}{}
	s.touch()
	return s.nconns, true
}

func (s *Server) leave(c *net.TCPConn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.touch()
}

// serveConn answers the queries of one connection in the order of their arrival; a slow answer holds back those after
// it (RFC 7766, section 7, allows more).
func (s *Server) serveConn(c *net.TCPConn, n int) {
	from := loopback.AddrPort(c.RemoteAddr())
	for {
		_ = c.SetReadDeadline(time.Now().Add(idle))
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		m, ok := unpack(b)
		if !ok {
			s.fault("TCP from %s: %d octets that are no query", from, len(b))
			return
		}
		x := &Exchange{srv: s, Msg: m, Query: newQuery(m, TCP, n, from), tcp: c}
		s.serve(x)
		if x.hang {
			s.awaitReset(c)
		}
		if x.cut || x.hang {
			return
		}
	}
}

// awaitReset holds a connection until the client or the server ends it.
func (s *Server) awaitReset(c *net.TCPConn) {
	_ = c.SetReadDeadline(time.Now().Add(idle))
	_, _ = io.Copy(io.Discard, c)
}

// Refuse makes a transport refuse: TCP connections are answered with RST, UDP datagrams with an ICMP port
// unreachable message. Open TCP connections are reset. Nobody else can take the port meanwhile.
func (s *Server) Refuse(tr Transport) error {
	if tr == TCP {
		return s.shut(tr, loopback.RefuseTCP)
	}
	return s.shut(tr, loopback.RefuseUDP)
}

// Ignore makes a transport swallow everything before it is seen: TCP connection attempts get no answer (on Linux;
// elsewhere an error wraps errors.ErrUnsupported), UDP datagrams neither answer nor error. Open TCP connections are
// reset. Queries are not counted.
func (s *Server) Ignore(tr Transport) error {
	if tr == TCP {
		return s.shut(tr, loopback.IgnoreTCP)
	}
	return s.shut(tr, loopback.IgnoreUDP)
}

// shut ends the service of a transport and lets hold take its port.
func (s *Server) shut(tr Transport, hold func(netip.AddrPort) (*loopback.Reservation, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return nil
	}
	if r := s.held[tr]; r != nil {
		r.Release()
		delete(s.held, tr)
	} else if tr == TCP {
		_ = s.tcp.Close()
		for c := range s.conns {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	} else {
		_ = s.udp.Close()
	}
	r, err := hold(s.addr)
	if err != nil {
		return fmt.Errorf("dnstest: %w", err)
	}
	s.held[tr] = r
	return nil
}

// Accept ends what Refuse or Ignore began; the port is the same.
func (s *Server) Accept(tr Transport) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.held[tr]
	if r == nil || s.isClosed() {
		return nil
	}
	r.Release()
	delete(s.held, tr)
	if tr == UDP {
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(s.addr))
		if err != nil {
			return err
		}
		s.udp = u
		s.running.Go(func() { s.serveUDP(u) })
		return nil
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(s.addr))
	if err != nil {
		return err
	}
	s.tcp = l
	s.running.Go(func() { s.serveTCP(l) })
	return nil
}

func (s *Server) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}
