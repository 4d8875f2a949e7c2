// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/telemetry"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
	"github.com/postrider/postrider/testkit/bustest"
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

func TestRun_ServesAndStops(t *testing.T) {
	s := &stub{rights: map[string]rpc.Right{dsnv1.DsnService_Preview_FullMethodName: rpc.RightNone}}
	cfg := loopback()
	cfg.Tokens = tokenFile(t)
	p := startProcess(t, process(unit("stub", cfg, s)))
	if _, err := dsnv1.NewDsnServiceClient(dial(t, p.GRPC.String(), rpc.ClientOptions{})).Preview(t.Context(), &dsnv1.PreviewRequest{}); err != nil {
		t.Errorf("the service's rights are not set: %v", err)
	}
	health := healthv1.NewHealthClient(dial(t, p.GRPC.String(), rpc.ClientOptions{}))
	for _, service := range []string{"", "postrider.dsn.v1.DsnService"} {
		answer, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v %v", service, answer, err)
		}
	}
	if err := CheckHealth(t.Context(), p.GRPC.String(), config.TLS{}); err != nil {
		t.Errorf("CheckHealth: %v", err)
	}
	base := "http://" + p.HTTP.String()
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ok\n", "/metrics": "go_goroutines"} {
		if code, body := get(t, base+path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.80s", path, code, body)
		}
	}
	if code, _ := get(t, base+"/other"); code != http.StatusNotFound {
		t.Errorf("/other: %d", code)
	}
	if err := p.end(t); err != nil {
		t.Errorf("Run: %v", err)
	}
	if !strings.Contains(p.log.String(), `"msg":"serving"`) || !strings.Contains(p.log.String(), `"msg":"stopping"`) {
		t.Errorf("log: %s", p.log)
	}
	if err := CheckHealth(t.Context(), p.GRPC.String(), config.TLS{}); err == nil {
		t.Error("serving after the end")
	}
	if _, err := net.DialTimeout("tcp", p.HTTP.String(), time.Second); err == nil {
		t.Error("the HTTP port is open after the end")
	}
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

func TestRun_NotServingUntilEveryServiceIsReady(t *testing.T) {
	gate := make(chan struct{})
	slow := &stub{register: func(grpc.ServiceRegistrar) {}, run: func(ctx context.Context, ready func()) error {
		select {
		case <-gate:
			ready()
			ready() // a second call is harmless
		case <-ctx.Done():
		}
		<-ctx.Done()
		return nil
	}}
	bound := make(chan string, 1)
	fast := &stub{run: func(ctx context.Context, ready func()) error { ready(); bound <- "up"; <-ctx.Done(); return nil }}
	proc := process(unit("fast", loopback(), fast), unit("slow", loopback(), slow))
	proc.Listen = freeAddress(t)
	proc.Shared.Node.HTTPListen = freeAddress(t)
	p, ready := begin(t, proc)
	<-bound
	if code, _ := get(t, "http://"+proc.Shared.Node.HTTPListen+"/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz says %d", code)
	}
	if code, _ := get(t, "http://"+proc.Shared.Node.HTTPListen+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz says %d", code)
	}
	if err := CheckHealth(t.Context(), proc.Listen, config.TLS{}); !errors.Is(err, ErrNotServing) {
		t.Errorf("health says %v", err)
	}
	close(gate)
	select {
	case p.Addresses = <-ready:
	case <-time.After(patience):
		t.Fatal("never ready")
	}
	if code, _ := get(t, "http://"+p.HTTP.String()+"/readyz"); code != http.StatusOK {
		t.Errorf("/readyz says %d", code)
	}
	if err := p.end(t); err != nil {
		t.Error(err)
	}
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

// TestRun_ServicesOfOneProcessCallEachOther: over memory, known by name and rights, whatever the configured target.
func TestRun_ServicesOfOneProcessCallEachOther(t *testing.T) {
	var caller rpc.Caller
	server := &stub{rights: map[string]rpc.Right{dsnv1.DsnService_Preview_FullMethodName: rpc.RightNullSender}}
	server.preview = func(ctx context.Context) error { caller = rpc.CallerFrom(ctx); return nil }
	client := &stub{register: func(r grpc.ServiceRegistrar) {
		senderv1.RegisterSenderServiceServer(r, senderv1.UnimplementedSenderServiceServer{})
	}}
	weak := &stub{register: func(grpc.ServiceRegistrar) {}}
	proc := process(unit("server", loopback(), server), unit("client", loopback(), client), unit("weak", loopback(), weak))
	proc.Units[1].PipeRights = []rpc.Right{rpc.RightSubmit, rpc.RightNullSender}
	proc.Units[2].PipeRights = []rpc.Right{rpc.RightSubmit}
	proc.TokensFile = tokenFile(t)
	p := startProcess(t, proc)
	call := func(env Env) *rpc.Error {
		t.Helper()
		conn, err := env.Dial(t.Context(), "192.0.2.1:1", rpc.ClientOptions{TokenFile: "/does/not/exist"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, err = dsnv1.NewDsnServiceClient(conn).Preview(t.Context(), &dsnv1.PreviewRequest{})
		return rpc.FromError(err)
	}
	if err := call(client.env); err != nil || caller.Name != "client" || caller.Has(rpc.RightOperator) {
		t.Errorf("%v, caller %+v", err, caller)
	}
	if err := call(weak.env); err == nil || err.Reason != rpc.ReasonRightMissing {
		t.Errorf("got %v", err)
	}
	// From the outside the tokens file counts.
	_, err := dsnv1.NewDsnServiceClient(dial(t, p.GRPC.String(), rpc.ClientOptions{})).Preview(t.Context(), &dsnv1.PreviewRequest{})
	if got := rpc.FromError(err); got == nil || got.Reason != rpc.ReasonTokenMissing {
		t.Errorf("got %v", got)
	}
	token := p.Pipe.Issue("command", rpc.AllRights()...)
	if _, err := dsnv1.NewDsnServiceClient(dial(t, "x", rpc.ClientOptions{InMemory: p.Pipe, Token: token})).Preview(t.Context(), &dsnv1.PreviewRequest{}); err != nil {
		t.Errorf("over the process's pipe: %v", err)
	}
	if err := p.end(t); err != nil {
		t.Error(err)
	}
}

func TestRun_DialOfASingleService(t *testing.T) {
	s, other := &stub{}, &stub{}
	a, b := startProcess(t, process(unit("a", loopback(), s))), startProcess(t, process(unit("b", loopback(), other)))
	if a.Pipe != nil {
		t.Error("a pipe for a single service")
	}
	conn, err := s.env.Dial(t.Context(), b.GRPC.String(), rpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := dsnv1.NewDsnServiceClient(conn).Preview(t.Context(), &dsnv1.PreviewRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := s.env.Dial(t.Context(), "", rpc.ClientOptions{}); err == nil {
		t.Error("no target was taken")
	}
	if s.env.Name != "a" || s.env.Log == nil || s.env.Tracer == nil || s.env.Meter == nil || s.env.NATS != nil || s.env.Stopping == nil {
		t.Errorf("env %+v", s.env)
	}
	if err := errors.Join(a.end(t), b.end(t)); err != nil {
		t.Error(err)
	}
}

// TestRun_StopsInOrder: Stopping first, then calls under way end while the service still works, then the service drains.
func TestRun_StopsInOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(what string) { mu.Lock(); defer mu.Unlock(); order = append(order, what) }
	inside := make(chan struct{})
	s := &stub{}
	s.preview = func(context.Context) error {
		close(inside)
		<-s.env.Stopping
		note("call ends")
		return nil
	}
	s.run = func(ctx context.Context, ready func()) error {
		ready()
		<-ctx.Done()
		note("service drains")
		return nil
	}
	p := startProcess(t, process(unit("stub", loopback(), s)))
	answered := make(chan error, 1)
	conn := dial(t, p.GRPC.String(), rpc.ClientOptions{})
	go func() {
		_, err := dsnv1.NewDsnServiceClient(conn).Preview(context.Background(), &dsnv1.PreviewRequest{})
		answered <- err
	}()
	<-inside
	if err := p.end(t); err != nil {
		t.Error(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if got := strings.Join(order, ", "); got != "call ends, service drains" {
		t.Errorf("order: %s", got)
	}
}

func TestRun_AServiceThatFailsStopsTheProcess(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		run  func(context.Context, func()) error
		want string
	}{
		"error":                 {func(context.Context, func()) error { return broken }, "bad: broken"},
		"error after ready":     {func(_ context.Context, ready func()) error { ready(); return broken }, "bad: broken"},
		"ends without a reason": {func(context.Context, func()) error { return nil }, "bad: ended before it was told to"},
	} {
		t.Run(name, func(t *testing.T) {
			drained := make(chan struct{})
			good := &stub{run: func(ctx context.Context, ready func()) error { ready(); <-ctx.Done(); close(drained); return nil }}
			bad := &stub{register: func(grpc.ServiceRegistrar) {}, run: tt.run}
			p, _ := begin(t, process(unit("good", loopback(), good), unit("bad", loopback(), bad)))
			select {
			case err := <-p.ended:
				if err == nil || err.Error() != tt.want {
					t.Errorf("got %v", err)
				}
			case <-time.After(patience):
				t.Fatal("does not end")
			}
			select {
			case <-drained:
			default:
				t.Error("the other service did not drain")
			}
		})
	}
}

func TestRun_AServiceThatHangsIsNotWaitedForForever(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	proc := process(unit("stub", loopback(), &stub{run: func(_ context.Context, ready func()) error { ready(); <-release; return nil }}))
	proc.Stop = 100 * time.Millisecond
	p := startProcess(t, proc)
	if err := p.end(t); err == nil || !strings.Contains(err.Error(), "not stopped within 100ms") {
		t.Errorf("got %v", err)
	}
}

func TestRun_BadStarts(t *testing.T) {
	taken := func(t *testing.T) string {
		t.Helper()
		var lc net.ListenConfig
		socket, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = socket.Close() })
		return socket.Addr().String()
	}
	for name, tt := range map[string]struct {
		change func(*testing.T, *Process, *stubConfig)
		want   string
	}{
		"no service":          {func(_ *testing.T, p *Process, _ *stubConfig) { p.Units = nil }, "a process needs a service"},
		"no address":          {func(_ *testing.T, _ *Process, c *stubConfig) { c.Listen = "" }, "listen: must be host:port"},
		"bad section":         {func(_ *testing.T, _ *Process, c *stubConfig) { c.Word = "bad" }, "stub.word: must not be bad"},
		"bad shared section":  {func(_ *testing.T, p *Process, _ *stubConfig) { p.Shared.Queue.Partitions = -1 }, "queue.partitions: "},
		"NATS missing":        {func(_ *testing.T, _ *Process, c *stubConfig) { c.nats = true }, "nats.url: must be set: stub needs NATS"},
		"open without tokens": {func(_ *testing.T, _ *Process, c *stubConfig) { c.Listen = "0.0.0.0:0" }, "without a tokens file only loopback"},
		"tokens file missing": {func(_ *testing.T, _ *Process, c *stubConfig) { c.Tokens = "/does/not/exist" }, "load tokens: "},
		"port taken":          {func(t *testing.T, _ *Process, c *stubConfig) { c.Listen = taken(t) }, "listen for gRPC: "},
		"HTTP port taken":     {func(t *testing.T, p *Process, _ *stubConfig) { p.Shared.Node.HTTPListen = taken(t) }, "node.http_listen"},
		"certificate missing": {func(_ *testing.T, p *Process, _ *stubConfig) {
			p.Shared.Node.TLS = config.TLS{CertFile: "/x", KeyFile: "/x"}
		}, "load TLS certificate"},
		"NATS authority": {func(_ *testing.T, p *Process, _ *stubConfig) {
			p.Shared.NATS.URL, p.Shared.NATS.TLS.CAFile = "nats://127.0.0.1:1", "/x"
		}, "connect NATS: load TLS authorities"},
		"embedded NATS": {func(_ *testing.T, p *Process, _ *stubConfig) {
			p.ConnectNATS = func(context.Context, config.NATS, *slog.Logger) (*nats.Conn, func(), error) {
				return nil, nil, errors.New("no disk")
			}
		}, "no disk"},
		"service cannot start": {func(_ *testing.T, p *Process, c *stubConfig) {
			p.Units = []Unit{NewUnit("stub", c, func(context.Context, stubConfig, Env) (Service, error) { return nil, errors.New("no key") })}
		}, "start stub: no key"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := loopback()
			p := process(unit("stub", cfg, &stub{}))
			tt.change(t, &p, cfg)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := Run(ctx, p)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

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

func TestRun_HTTPOff(t *testing.T) {
	proc := process(unit("stub", loopback(), &stub{}))
	proc.Shared.Node.HTTPListen = "off"
	p := startProcess(t, proc)
	if p.HTTP != nil {
		t.Errorf("listening on %s", p.HTTP)
	}
	if err := p.end(t); err != nil {
		t.Error(err)
	}
}

func TestBesideGRPC(t *testing.T) {
	for port, want := range map[int]string{4025: "127.0.0.1:5025", 32767: "127.0.0.1:33767", 32768: "127.0.0.1:0", 65000: "127.0.0.1:0"} {
		if got := besideGRPC(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); got != want {
			t.Errorf("beside %d: %s, want %s", port, got, want)
		}
	}
}

// TestRun_SeveralInOneProgram: no state is shared between processes.
func TestRun_SeveralInOneProgram(t *testing.T) {
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			p := process(unit(fmt.Sprintf("stub%d", i), loopback(), &stub{}))
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			p.OnReady = func(a Addresses) {
				if err := CheckHealth(ctx, a.GRPC.String(), config.TLS{}); err != nil {
					t.Error(err)
				}
				cancel()
			}
			if err := Run(ctx, p); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestRun_TelemetryReachesServices(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	s := &stub{}
	proc := process(unit("stub", loopback(), s))
	proc.Telemetry = []telemetry.Option{telemetry.WithExporter(outlives{spans})}
	p := startProcess(t, proc)
	_, span := s.env.Tracer.Tracer("test").Start(t.Context(), "sender.attempt")
	span.End()
	_, err := dsnv1.NewDsnServiceClient(dial(t, p.GRPC.String(), rpc.ClientOptions{})).Preview(t.Context(), &dsnv1.PreviewRequest{})
	if err != nil {
		t.Error(err)
	}
	if err := p.end(t); err != nil {
		t.Error(err)
	}
	names := map[string]bool{}
	for _, s := range spans.GetSpans() {
		names[s.Name] = true
	}
	if !names["sender.attempt"] || !names["postrider.dsn.v1.DsnService/Preview"] {
		t.Errorf("spans %v", names)
	}
}

// outlives is an exporter whose spans can be read after its end.
type outlives struct{ *tracetest.InMemoryExporter }

func (outlives) Shutdown(context.Context) error { return nil }
