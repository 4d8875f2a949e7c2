// SPDX-License-Identifier: Apache-2.0

package smtplisten

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/content"
	"github.com/postrider/postrider/services/gateway/internal/submit"
)

// Submitter takes messages (package submit).
type Submitter interface {
	SubmitBy(context.Context, *gatewayv1.Envelope, content.Source, submit.Door) (*gatewayv1.Accepted, error)
}

// Options are the parts of a Server.
type Options struct {
	// Node is node.name: the greeting and the by clause of Received.
	Node string
	// Submitter takes the messages. Required.
	Submitter Submitter
	// Caller returns the caller of a bearer token. Nil means that there is no AUTH.
	Caller func(token string) (rpc.Caller, bool)
	// TLS is the configuration for STARTTLS. Nil means that there is neither STARTTLS nor AUTH.
	TLS *tls.Config
	// Trusted are the networks whose hosts may relay without TLS and AUTH.
	Trusted []netip.Prefix
	// MaxSize is SIZE in bytes (RFC 1870).
	MaxSize int64
	// MaxConnections is the most sessions at once; MaxPerAddress the most of one address that is not trusted.
	MaxConnections, MaxPerAddress int
	// Log takes what is not a message's: sessions refused and listeners failing.
	Log *slog.Logger
	// Timeout is how long a client may take for one command or one piece of data (RFC 5321, section 4.5.3.2.7: 5 min).
	Timeout time.Duration
	// Grace is how long sessions may go on with a message when the server stops.
	Grace time.Duration
}

// Times and limits that are not for configuration.
const (
	DefaultTimeout     = 5 * time.Minute
	DefaultGrace       = 10 * time.Second
	DefaultConnections = 500
	DefaultPerAddress  = 50

	writeTimeout = time.Minute
	dataLimit    = 2 * time.Hour // for the whole of one message
)

// Server serves one listener. New makes it.
type Server struct {
	o        Options
	sessions sync.WaitGroup

	mu       sync.Mutex
	open     map[*session]struct{}
	by       map[netip.Addr]int
	stopping bool
}

// New returns a server.
func New(o Options) *Server {
	return &Server{o: o, open: make(map[*session]struct{}), by: make(map[netip.Addr]int)}
}

// Serve takes connections until ctx ends. Then it closes the listener, says 421 to sessions that wait for a command, lets
// the others end their message within Options.Grace, and returns when all are gone (RFC 5321, section 3.8).
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	err := s.accept(ctx, work, l)
	_ = l.Close()
	s.stop()
	timer := time.AfterFunc(s.o.Grace, func() { cut(); s.cut() })
	defer timer.Stop()
	s.sessions.Wait()
	return err
}

func (s *Server) accept(ctx, work context.Context, l net.Listener) error {
	for pause := 5 * time.Millisecond; ; {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			s.begin(work, conn)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept SMTP connections: %w", err)
		default: // out of file descriptors, or a client gone already
			s.o.Log.LogAttrs(ctx, slog.LevelWarn, "SMTP connection not accepted", slog.String("error", err.Error()))
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			pause = min(2*pause, time.Second)
		}
	}
}

// begin starts a session, or says 421 when there are too many.
func (s *Server) begin(ctx context.Context, conn net.Conn) {
	ss := newSession(s, conn)
	if !s.add(ss) {
		s.sessions.Go(func() {
			ss.reply(421, "4.3.2", "%s too many connections, try again later", s.o.Node)
			ss.flush()
			_ = conn.Close()
		})
		return
	}
	s.sessions.Go(func() {
		defer s.remove(ss)
		defer func() { _ = ss.conn.Close() }()
		defer s.panicked(ctx)
		ss.run(ctx)
	})
}

// panicked keeps a fault of ours in one session from ending the process with all others.
func (s *Server) panicked(ctx context.Context) {
	if cause := recover(); cause != nil {
		s.o.Log.LogAttrs(ctx, slog.LevelError, "SMTP session panicked",
			slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
	}
}

func (s *Server) add(ss *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= s.o.MaxConnections || (!ss.trusted && s.by[ss.peer] >= s.o.MaxPerAddress) {
		return false
	}
	s.open[ss] = struct{}{}
	s.by[ss.peer]++
	if s.stopping {
		ss.interrupt()
	}
	return true
}

func (s *Server) remove(ss *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, ss)
	if s.by[ss.peer]--; s.by[ss.peer] == 0 {
		delete(s.by, ss.peer)
	}
}

// stop ends the sessions that wait for a command, now or later.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for ss := range s.open {
		ss.interrupt()
	}
}

// cut ends the sessions that are left.
func (s *Server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ss := range s.open {
		ss.abort()
	}
}

func (s *Server) trusts(addr netip.Addr) bool {
	for _, p := range s.o.Trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
