// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestRun_NATS(t *testing.T) {
	t.Run("external", func(t *testing.T) {
		server := bustest.StartWith(t, bustest.Options{Listen: true})
		s, cfg := &stub{}, loopback()
		cfg.nats = true
		proc := process(unit("stub", cfg, s))
		proc.Shared.NATS.URL = server.URL()
		p := startProcess(t, proc)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := s.env.NATS.FlushWithContext(ctx); err != nil {
			t.Errorf("not connected: %v", err)
		}
		if s.env.NATS.Opts.ReconnectBufSize != -1 || s.env.NATS.Opts.MaxReconnect != -1 || s.env.NATS.Opts.Name != "test" {
			t.Errorf("options %+v", s.env.NATS.Opts)
		}
		server.Stop()
		if err := await(ctx, func() bool { return errors.Is(CheckHealth(ctx, p.GRPC.String(), config.TLS{}), ErrNotServing) }); err != nil {
			t.Errorf("health while the server is away: %v", CheckHealth(ctx, p.GRPC.String(), config.TLS{}))
		}
		if err := s.env.NATS.Publish("x", nil); err == nil {
			err = s.env.NATS.FlushWithContext(ctx)
			if err == nil {
				t.Error("a publish without a server went well")
			}
		}
		server.StartAgain()
		if err := await(ctx, func() bool { return s.env.NATS.IsConnected() }); err != nil {
			t.Errorf("not connected again: %v; %s", err, p.log)
		}
		if err := await(ctx, func() bool { return CheckHealth(ctx, p.GRPC.String(), config.TLS{}) == nil }); err != nil {
			t.Errorf("health when the server is back: %v", CheckHealth(ctx, p.GRPC.String(), config.TLS{}))
		}
		if err := p.end(t); err != nil {
			t.Error(err)
		}
		if !s.env.NATS.IsClosed() {
			t.Error("the connection is open after the end")
		}
		if !strings.Contains(p.log.String(), "NATS connection lost") {
			t.Errorf("not logged: %s", p.log)
		}
	})
	t.Run("away at start", func(t *testing.T) {
		s := &stub{}
		proc := process(unit("stub", loopback(), s))
		proc.Shared.NATS.URL = "nats://" + freeAddress(t)
		p := startProcess(t, proc)
		if s.env.NATS == nil || s.env.NATS.IsConnected() {
			t.Error("no connection that keeps trying")
		}
		if err := p.end(t); err != nil {
			t.Error(err)
		}
	})
	t.Run("embedded", func(t *testing.T) {
		server := bustest.Start(t)
		s, cfg := &stub{}, loopback()
		cfg.nats = true
		proc := process(unit("stub", cfg, s))
		ended := false
		proc.ConnectNATS = func(_ context.Context, cfg config.NATS, _ *slog.Logger) (*nats.Conn, func(), error) {
			if !cfg.Embedded() {
				return nil, nil, errors.New("not embedded")
			}
			conn := server.Connect()
			return conn, func() { conn.Close(); ended = true }, nil
		}
		p := startProcess(t, proc)
		if !s.env.NATS.IsConnected() {
			t.Error("not connected")
		}
		if err := p.end(t); err != nil || !ended {
			t.Errorf("%v, ended %v", err, ended)
		}
	})
}
