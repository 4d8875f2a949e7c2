// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/telemetry"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
)

// patience is far above what anything here takes.
const patience = 20 * time.Second

// stubConfig is the configuration of a test's service.
type stubConfig struct {
	Listen string `yaml:"listen" help:"Where to listen."`
	Tokens string `yaml:"tokens_file" help:"Tokens."`
	Word   string `yaml:"word" help:"A word."`
	nats   bool
}

func (c *stubConfig) ListenAddress() string { return c.Listen }
func (c *stubConfig) TokensFile() string    { return c.Tokens }
func (c *stubConfig) UsesNATS() bool        { return c.nats }
func (c *stubConfig) Validate() error {
	var f config.Faults
	f.Check(c.Word != "bad", "stub.word", "must not be bad")
	return f.Err()
}

// stub is a service a test watches.
type stub struct {
	dsnv1.UnimplementedDsnServiceServer
	env      Env
	register func(grpc.ServiceRegistrar)
	run      func(ctx context.Context, ready func()) error
	preview  func(context.Context) error
	rights   map[string]rpc.Right
}

func (s *stub) Register(r grpc.ServiceRegistrar) {
	if s.register != nil {
		s.register(r)
		return
	}
	dsnv1.RegisterDsnServiceServer(r, s)
}

func (s *stub) Run(ctx context.Context, ready func()) error {
	if s.run != nil {
		return s.run(ctx, ready)
	}
	ready()
	<-ctx.Done()
	return nil
}

func (s *stub) Rights() map[string]rpc.Right { return s.rights }

func (s *stub) Preview(ctx context.Context, _ *dsnv1.PreviewRequest) (*dsnv1.PreviewResponse, error) {
	if s.preview != nil {
		return &dsnv1.PreviewResponse{}, s.preview(ctx)
	}
	return &dsnv1.PreviewResponse{}, nil
}

// unit returns a unit that builds s.
func unit(name string, cfg *stubConfig, s *stub) Unit {
	return NewUnit(name, cfg, func(_ context.Context, _ stubConfig, env Env) (Service, error) { s.env = env; return s, nil })
}

func loopback() *stubConfig { return &stubConfig{Listen: "127.0.0.1:0"} }

func process(units ...Unit) Process {
	return Process{Name: "test", Shared: DefaultShared(), Units: units, Telemetry: []telemetry.Option{telemetry.WithExporter(tracetest.NewInMemoryExporter())}}
}

// started is a process in the background.
type started struct {
	Addresses
	stop  context.CancelFunc
	ended chan error
	log   *lines
}

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }

func (l *lines) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// begin runs a process without waiting for it.
func begin(t *testing.T, p Process) (*started, <-chan Addresses) {
	t.Helper()
	s := &started{ended: make(chan error, 1), log: &lines{}}
	p.Log = slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ready := make(chan Addresses, 1)
	p.OnReady = func(a Addresses) { ready <- a }
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	go func() { s.ended <- Run(ctx, p) }()
	t.Cleanup(s.stop)
	return s, ready
}

func startProcess(t *testing.T, p Process) *started {
	t.Helper()
	s, ready := begin(t, p)
	select {
	case s.Addresses = <-ready:
	case err := <-s.ended:
		t.Fatalf("ended before it was ready: %v", err)
	case <-time.After(patience):
		t.Fatalf("not ready: %s", s.log)
	}
	return s
}

// end stops the process and returns what Run said.
func (s *started) end(t *testing.T) error {
	t.Helper()
	s.stop()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(patience):
		t.Fatalf("does not end: %s", s.log)
		return nil
	}
}

func dial(t *testing.T, address string, opts rpc.ClientOptions) *grpc.ClientConn {
	t.Helper()
	conn, err := rpc.Dial(address, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func tokenFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	// SHA-256 of "token".
	text := "- {name: app, sha256: 3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0, rights: [submit]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// freeAddress is a loopback address nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	socket, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	return socket.Addr().String()
}

// await asks until ok or the context ends.
func await(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
