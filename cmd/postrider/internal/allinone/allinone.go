// SPDX-License-Identifier: Apache-2.0

// Package allinone joins the four services and an embedded NATS in one process. It owns nothing but the wiring: the
// services are the same, and called in the same way, as in processes of their own.
package allinone

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/cmd/postrider/internal/embeddednats"
	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	"github.com/postrider/postrider/kit/telemetry"
	"github.com/postrider/postrider/services/dsn"
	"github.com/postrider/postrider/services/gateway"
	"github.com/postrider/postrider/services/resolver"
	"github.com/postrider/postrider/services/sender"
)

// Config is the configuration of all sections.
type Config struct {
	Shared   runner.Shared
	Gateway  gateway.Config
	Resolver resolver.Config
	Sender   sender.Config
	DSN      dsn.Config
}

// Default is a working local system: mail is taken on loopback, delivered to port 25 by the hosts DNS names.
func Default() *Config {
	return &Config{
		Shared:   runner.DefaultShared(),
		Gateway:  gateway.Default(),
		Resolver: resolver.Default(),
		Sender:   sender.Default(),
		DSN:      dsn.Default(),
	}
}

// Load reads a file over the configuration.
func (c *Config) Load(file string) error {
	return config.LoadSections(file, c.Sections()...)
}

// Sections are the sections of the file in their order.
func (c *Config) Sections() []config.Section {
	return c.Shared.Sections(c.units()...)
}

// Validate checks all sections and names every fault.
func (c *Config) Validate() error {
	p := c.process(Options{})
	return p.Validate()
}

// units are the services; the first one's listen address and tokens are those of the process.
func (c *Config) units() []runner.Unit {
	notifications := runner.NewUnit("dsn", &c.DSN, dsn.New)
	notifications.PipeRights = []rpc.Right{rpc.RightSubmit, rpc.RightNullSender}
	return []runner.Unit{
		runner.NewUnit("gateway", &c.Gateway, gateway.New),
		runner.NewUnit("resolver", &c.Resolver, resolver.New),
		runner.NewUnit("sender", &c.Sender, sender.New),
		notifications,
	}
}

// Options are what a caller of Run adds to the configuration.
type Options struct {
	// Log takes all lines.
	Log *slog.Logger
	// Telemetry changes the set-up of traces.
	Telemetry []telemetry.Option
	// OnReady is called once, when all services are ready.
	OnReady func(runner.Addresses)
}

// Run serves until ctx ends and everything has drained.
func Run(ctx context.Context, c *Config, o Options) error {
	return runner.Run(ctx, c.joined().process(o))
}

// joined returns a configuration whose resolver and sender know what their neighbours in the process know: which port is
// dialled, and that the gateway's SMTP listener is ourselves (R-17, S-19).
func (c *Config) joined() *Config {
	own := *c
	if own.Resolver.SMTPPort == 0 {
		own.Resolver.SMTPPort = c.Sender.SMTPPort
	}
	if _, port, err := net.SplitHostPort(c.Gateway.SMTPListen); err == nil && port != "0" {
		own.Resolver.OwnListeners = append(slices.Clone(own.Resolver.OwnListeners), c.Gateway.SMTPListen)
		own.Sender.OwnListener = true
	}
	return &own
}

func (c *Config) process(o Options) runner.Process {
	p := runner.Process{
		Name: "postrider", Shared: c.Shared, Units: c.units(), Log: o.Log, Telemetry: o.Telemetry, OnReady: o.OnReady,
	}
	if c.Shared.NATS.Embedded() {
		p.ConnectNATS = connectEmbedded
	}
	return p
}

// stopTimeout bounds closing the store.
const stopTimeout = 20 * time.Second

// connectEmbedded starts the server under nats.data_dir; what it returns stops it.
func connectEmbedded(_ context.Context, c config.NATS, log *slog.Logger) (*nats.Conn, func(), error) {
	server, err := embeddednats.Start(embeddednats.Options{
		Dir: filepath.Join(c.DataDir, "nats"), MaxStore: c.MaxStore.Bytes(), Log: log,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("nats.data_dir %s: %w", c.DataDir, err)
	}
	stop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			log.Error("embedded NATS did not stop cleanly", "error", err)
		}
	}
	conn, err := server.Connect("postrider")
	if err != nil {
		stop()
		return nil, nil, err
	}
	return conn, func() { conn.Close(); stop() }, nil
}
