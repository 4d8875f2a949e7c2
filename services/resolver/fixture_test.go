// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/runner"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/testkit/dnstest"
)

const zone = `
	example.test  MX 10 mx1.test
	example.test  MX 20 mx2.test
	mx1.test      A  192.0.2.1
	mx2.test      A  192.0.2.2
	local.test    MX 10 here.test
	here.test     A  127.0.0.1
`

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// with are the lines that hold a text.
func (l *lines) with(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// settings are those of tests: brisk, without the periodic check.
func settings(servers ...*dnstest.Server) Config {
	c := Default()
	c.Listen = "127.0.0.1:0"
	c.CheckInterval = 0
	for _, s := range servers {
		c.Servers = append(c.Servers, s.Addr().String())
	}
	return c
}

func brisk(c *Config) {
	ms := func(n int) config.Duration { return config.Duration(time.Duration(n) * time.Millisecond) }
	c.Timeouts = Timeouts{
		UDPFirst: ms(300), UDPSecond: ms(700), TCPConnect: ms(800), TCPTotal: ms(1500), Lookup: ms(8000), LookupPerServer: ms(1000),
	}
}

func environment(log *lines, tracer trace.TracerProvider) runner.Env {
	if tracer == nil {
		tracer = tracenoop.NewTracerProvider()
	}
	return runner.Env{
		Name: "resolver", Log: slog.New(slog.NewTextHandler(log, nil)),
		Tracer: tracer, Meter: metricnoop.NewMeterProvider(), Health: func(string, string) {},
	}
}

// start runs a service until the end of the test.
func start(t testing.TB, c Config, env runner.Env) *service {
	t.Helper()
	built, err := New(t.Context(), c, env)
	if err != nil {
		t.Fatal(err)
	}
	s := built.(*service)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func startQuiet(t testing.TB, c Config) *service {
	t.Helper()
	return start(t, c, environment(&lines{}, nil))
}

func resolve(t testing.TB, s *service, in *resolverv1.ResolveRouteRequest) *resolverv1.ResolveRouteResponse {
	t.Helper()
	out, err := s.ResolveRoute(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func loopbackNet() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
