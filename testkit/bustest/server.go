// SPDX-License-Identifier: Apache-2.0

package bustest

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patience bounds what only a broken server takes longer for.
const patience = time.Minute

// maxPayload is the largest message with its headers, in octets, as the queue asks of every server.
const maxPayload = 4 << 20

// Options describe a server. The zero value is the embedded server: no listener, a store of its own.
type Options struct {
	Listen    bool   // also on TCP, 127.0.0.1; the port stays the same over restarts
	Port      int    // with Listen; 0: a free one
	StoreDir  string // default: a directory of the test
	MaxStore  int64  // octets of all streams; 0: as the server chooses
	Configure func(*server.Options)
}

// Server is a NATS server that can go away and come back.
type Server struct {
	tb   testing.TB
	opts Options
	door *door

	mu    sync.Mutex // serialises Stop, Start, Crash
	srv   *server.Server
	store string
	log   *logger

	connMu sync.Mutex
	conn   *nats.Conn // nil until asked for
	js     jetstream.JetStream
}

// Start runs an embedded server for a test; its end stops it.
func Start(tb testing.TB) *Server {
	tb.Helper()
	return StartWith(tb, Options{})
}

// StartWith is Start with options.
func StartWith(tb testing.TB, o Options) *Server {
	tb.Helper()
	s := &Server{tb: tb, opts: o, door: newDoor(), store: o.StoreDir, log: new(logger)}
	if s.store == "" {
		s.store = filepath.Join(tb.TempDir(), "jetstream-0")
	}
	tb.Cleanup(func() {
		s.Stop()
		s.door.close()
		s.log.report(tb)
	})
	if o.Listen {
		if err := s.door.listen(fmt.Sprintf("127.0.0.1:%d", o.Port)); err != nil {
			tb.Fatalf("bustest: %v", err)
		}
	}
	s.StartAgain()
	return s
}

// options are those of the embedded server of the all-in-one process.
func (s *Server) options() *server.Options {
	o := &server.Options{
		ServerName: "bustest", DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: s.store, SyncAlways: true, JetStreamMaxStore: s.opts.MaxStore,
		MaxPayload: maxPayload, DisableJetStreamBanner: true,
	}
	if s.opts.Configure != nil {
		s.opts.Configure(o)
	}
	return o
}

// StartAgain starts the server on its store after Stop and returns when it takes connections.
func (s *Server) StartAgain() {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.srv != nil {
		s.tb.Fatal("bustest: the server runs already")
	}
	s.start()
}

func (s *Server) start() {
	s.tb.Helper()
	srv, err := server.NewServer(s.options())
	if err != nil {
		s.tb.Fatalf("bustest: %v", err)
	}
	srv.SetLoggerV2(s.log, false, false, false)
	srv.Start()
	if err := s.log.awaitReady(srv); err != nil {
		s.tb.Fatalf("bustest: %v", err)
	}
	s.srv = srv
	s.door.open(srv)
	s.awaitConn()
}

// awaitConn returns when the shared connection, if there is one, is up.
func (s *Server) awaitConn() {
	s.tb.Helper()
	s.connMu.Lock()
	nc := s.conn
	s.connMu.Unlock()
	if nc == nil {
		return
	}
	up := nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer nc.RemoveStatusListener(up)
	if nc.IsConnected() || nc.IsClosed() {
		return
	}
	select {
	case <-up:
	case <-time.After(patience):
		s.tb.Fatalf("bustest: not connected again within %s", patience)
	}
}

// Stop shuts the server down in order: connections end, the store is closed. Without a running server it does
// nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
}

func (s *Server) stop() {
	if s.srv == nil {
		return
	}
	s.door.shut()
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
	s.srv = nil
}

// Restart is Stop and StartAgain.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Stop()
	s.StartAgain()
}

// Crash restarts the server on what kill -9 would have left: all connections are cut first, so that nothing is
// acknowledged any more; then the store is copied as it lies on disk, without the server's closing work; the new
// server runs on the copy.
func (s *Server) Crash() {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.srv == nil {
		s.tb.Fatal("bustest: the server does not run")
	}
	s.door.shut()
	next, err := os.MkdirTemp(filepath.Dir(s.store), "jetstream-")
	if err == nil {
		err = copyStable(next, s.store)
	}
	if err != nil {
		s.tb.Fatalf("bustest: copy the store: %v", err)
	}
	s.stop()
	if err := os.RemoveAll(s.store); err != nil {
		s.tb.Fatalf("bustest: %v", err)
	}
	s.store = next
	s.start()
}

// HoldReplies keeps back everything the server sends to its clients until ReleaseReplies, while it still takes what
// they send: a publish is stored and its answer is late. Connections made meanwhile are held too.
func (s *Server) HoldReplies() { s.door.hold(true) }

// ReleaseReplies lets out what HoldReplies kept back, in order.
func (s *Server) ReleaseReplies() { s.door.hold(false) }

// CutConnections breaks every connection; the server runs on and takes new ones.
func (s *Server) CutConnections() { s.door.cut() }

// NATS is the server itself; nil while stopped.
func (s *Server) NATS() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.srv
}

// StoreDir is the directory of the store. Crash changes it.
func (s *Server) StoreDir() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store
}

// URL is the address of the TCP listener, nats://127.0.0.1:port. Without Options.Listen it fails the test.
func (s *Server) URL() string {
	s.tb.Helper()
	addr := s.door.addr()
	if addr == "" {
		s.tb.Fatal("bustest: the server has no listener (Options.Listen)")
	}
	return "nats://" + addr
}

// Conn is a connection shared by the test. It has no reconnect buffer, so that a publish fails while the server is
// away, and comes back after a restart. The end of the test closes it.
func (s *Server) Conn() *nats.Conn {
	s.tb.Helper()
	s.connMu.Lock()
	defer s.connMu.Unlock()
	if s.conn == nil {
		nc := s.Connect()
		js, err := jetstream.New(nc)
		if err != nil {
			s.tb.Fatalf("bustest: %v", err)
		}
		s.conn, s.js = nc, js
	}
	return s.conn
}

// JetStream is the API over Conn.
func (s *Server) JetStream() jetstream.JetStream {
	s.tb.Helper()
	s.Conn()
	return s.js
}

// ConnOptions are the options of Conn, for code that connects by itself: an in-process connection that survives
// restarts, no reconnect buffer, reconnecting without end.
func (s *Server) ConnOptions() []nats.Option {
	return append(connOptions(s.log), nats.InProcessServer(s.door))
}

// connOptions make asynchronous errors part of the log, to be shown when the test fails.
func connOptions(log *logger) []nats.Option {
	return []nats.Option{
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warnf("client: %v", err) }),
		nats.ReconnectBufSize(-1), nats.MaxReconnects(-1),
		nats.ReconnectWait(10 * time.Millisecond), nats.ReconnectJitter(0, 0),
	}
}

// Connect makes a further connection with ConnOptions and those given. The end of the test closes it.
func (s *Server) Connect(more ...nats.Option) *nats.Conn {
	s.tb.Helper()
	nc, err := nats.Connect("", append(s.ConnOptions(), more...)...)
	if err != nil {
		s.tb.Fatalf("bustest: connect: %v", err)
	}
	s.tb.Cleanup(nc.Close)
	return nc
}
