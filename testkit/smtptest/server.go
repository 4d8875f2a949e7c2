// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/testkit/internal/loopback"
)

// Conversation is one side of an SMTP dialogue written down as a function.
type Conversation func(c *Conn)

// Server runs conversations with the clients that connect to its address.
type Server struct {
	tb       testing.TB
	listener net.Listener
	script   []Conversation
	ending   atomic.Bool
	running  sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{} // closed and renewed with every change
	accepted int
	open     map[net.Conn]struct{}
}

// Serve listens on 127.0.0.1, port 0, and holds a conversation with everyone who connects. The first connection gets
// the first conversation, the second the second, and the last one stands for all further ones. The end of the test
// closes the listener and what is still open, and waits for the conversations.
func Serve(tb testing.TB, script ...Conversation) *Server {
	tb.Helper()
	return ServeOn(tb, SharedPort(tb, "127.0.0.1")[0], script...)
}

// ServeOn is Serve with a listener of the caller, which it takes over.
func ServeOn(tb testing.TB, l net.Listener, script ...Conversation) *Server {
	tb.Helper()
	if len(script) == 0 {
		tb.Fatal("smtptest: a server needs a conversation")
	}
	s := &Server{tb: tb, listener: l, script: script, changed: make(chan struct{}), open: map[net.Conn]struct{}{}}
	tb.Cleanup(s.Close)
	s.running.Go(s.accept)
	return s
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.tb.Errorf("smtptest: accept: %v", err)
			}
			return
		}
		n, ok := s.enter(c)
		if !ok {
			_ = c.Close()
			return
		}
		s.running.Go(func() {
			defer s.leave(c)
			s.script[min(n, len(s.script))-1](newConn(s.tb, c, n, &s.ending))
		})
	}
}

func (s *Server) enter(c net.Conn) (n int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending.Load() {
		return 0, false
	}
	s.accepted++
	s.open[c] = struct{}{}
	s.touch()
	return s.accepted, true
}

func (s *Server) leave(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	s.touch()
}

func (s *Server) touch() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Addr is the address and port it listens on.
func (s *Server) Addr() netip.AddrPort { return loopback.AddrPort(s.listener.Addr()) }

// Accepted is the number of connections so far.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Running is the number of conversations that have not ended.
func (s *Server) Running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// Wait returns when n connections have been accepted and every conversation so far has ended. It fails the test when
// that takes longer than limit.
func (s *Server) Wait(n int, limit time.Duration) {
	s.tb.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		s.mu.Lock()
		accepted, open, changed := s.accepted, len(s.open), s.changed
		s.mu.Unlock()
		if accepted >= n && open == 0 {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			s.tb.Fatalf("smtptest: after %s: %d of %d connections, %d conversations still run", limit, accepted, n, open)
		}
	}
}

// Close stops listening, closes what is open, and waits until every conversation has ended. What a conversation fails
// on from here is not reported. It may be called more than once.
func (s *Server) Close() {
	s.mu.Lock()
	s.ending.Store(true)
	_ = s.listener.Close()
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}
