// SPDX-License-Identifier: Apache-2.0

// Package embeddednats runs a NATS server with JetStream inside this process: every write is flushed before it is
// acknowledged, and it listens on nothing. It owns the server's life and its log, not what is stored in it.
package embeddednats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Options say where and how much.
type Options struct {
	// Dir holds the streams, "<Dir>/jetstream". It must belong to one process alone.
	Dir string
	// MaxStore is the most bytes the streams may take together.
	MaxStore int64
	// Log receives the server's own messages.
	Log *slog.Logger
}

const (
	startTimeout = time.Minute
	// maxPayload fits a segment with one message of 1,000 recipients and inlined contents.
	maxPayload = 8 << 20
	maxMemory  = 64 << 20
)

// Server is a running server.
type Server struct {
	nats *server.Server
	lock *os.File
}

// ErrClusterStore means that the directory was written by a member of a cluster: a stand-alone server must not be
// started on it.
var ErrClusterStore = errors.New("the data directory belongs to a member of a NATS cluster")

// Start starts a server and waits until it takes connections. It fails when another process has the directory.
func Start(o Options) (*Server, error) {
	store := filepath.Join(o.Dir, "jetstream")
	if err := os.MkdirAll(store, 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(store, "$SYS", "_js_", "_meta_")); err == nil {
		return nil, fmt.Errorf("%s: %w", store, ErrClusterStore)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	s, err := start(o, store)
	if err == nil {
		err = guard(store)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &Server{nats: s, lock: lock}, nil
}

func start(o Options, store string) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "postrider", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: o.Dir, SyncAlways: true,
		JetStreamMaxStore: o.MaxStore, JetStreamMaxMemory: maxMemory, MaxPayload: maxPayload,
	})
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS: %w", err)
	}
	logger := &natsLog{log: o.Log.With("component", "nats")}
	s.SetLoggerV2(logger, false, false, false)
	go s.Start()
	if !s.ReadyForConnections(startTimeout) {
		s.Shutdown()
		return nil, fmt.Errorf("embedded NATS was not ready within %s (store %s)", startTimeout, store)
	}
	if s.JetStreamEnabled() {
		return s, nil
	}
	s.Shutdown()
	return nil, fmt.Errorf("embedded NATS could not open its store %s: %s", store, logger.lastError())
}

// Connect opens a connection that lasts until the server stops.
func (s *Server) Connect(name string) (*nats.Conn, error) {
	nc, err := nats.Connect("", nats.InProcessServer(s.nats), nats.Name(name),
		nats.ReconnectBufSize(-1), nats.MaxReconnects(-1))
	if err != nil {
		return nil, fmt.Errorf("connect to embedded NATS: %w", err)
	}
	return nc, nil
}

// Stop closes the store and gives the directory up. Connections must be drained before.
func (s *Server) Stop(ctx context.Context) error {
	s.nats.Shutdown()
	done := make(chan struct{})
	go func() {
		s.nats.WaitForShutdown()
		close(done)
	}()
	defer s.lock.Close()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop embedded NATS: %w", ctx.Err())
	}
}
