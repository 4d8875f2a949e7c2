// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
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
)

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

// Profiles are there when they are wanted, and not otherwise.
func TestRun_Profiles(t *testing.T) {
	for _, wanted := range []bool{false, true} {
		proc := process(unit("stub", loopback(), &stub{}))
		proc.Shared.Telemetry.Profiles = wanted
		p := startProcess(t, proc)
		code, body := get(t, "http://"+p.HTTP.String()+"/debug/pprof/goroutine?debug=1")
		if wanted != (code == http.StatusOK && strings.Contains(body, "goroutine profile")) || !wanted && code != http.StatusNotFound {
			t.Errorf("wanted %v: %d %.80s", wanted, code, body)
		}
	}
}

// A part in trouble shows wherever health is asked for, and the process stays ready.
func TestRun_PartsShowInHealth(t *testing.T) {
	var env Env
	u := unit("stub", loopback(), &stub{})
	built := u.build
	u.build = func(ctx context.Context, e Env) (Service, error) { env = e; return built(ctx, e) }
	p := startProcess(t, process(u))
	health := healthv1.NewHealthClient(dial(t, p.GRPC.String(), rpc.ClientOptions{}))
	state := func(name string) healthv1.HealthCheckResponse_ServingStatus {
		answer, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: name})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetStatus()
	}
	const tcp, udp = "stub/dns/192.0.2.53:53/tcp", "stub/dns/192.0.2.53:53/udp"
	for _, c := range []struct {
		trouble, body string
		want          healthv1.HealthCheckResponse_ServingStatus
	}{
		{"No answer\nsince noon.", "ok\n" + tcp + ": No answer since noon.\n" + udp + ": ok\n", healthv1.HealthCheckResponse_NOT_SERVING},
		{"", "ok\n" + tcp + ": ok\n" + udp + ": ok\n", healthv1.HealthCheckResponse_SERVING},
	} {
		env.Health("dns/192.0.2.53:53/udp", "")
		env.Health("dns/192.0.2.53:53/tcp", c.trouble)
		if code, body := get(t, "http://"+p.HTTP.String()+"/readyz"); code != http.StatusOK || body != c.body {
			t.Errorf("/readyz: %d %q, want %q", code, body, c.body)
		}
		if state(tcp) != c.want || state(udp) != healthv1.HealthCheckResponse_SERVING || state("") != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("%s is %s, %s is %s, the whole %s", tcp, state(tcp), udp, state(udp), state(""))
		}
	}
	if err := p.end(t); err != nil {
		t.Error(err)
	}
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
		"open without tokens": {func(_ *testing.T, _ *Process, c *stubConfig) { c.Listen = "0.0.0.0:0" }, "stub.listen (stub.tokens_file is not set): "},
		"open, own address":   {func(_ *testing.T, p *Process, _ *stubConfig) { p.Listen = "0.0.0.0:0" }, "without a tokens file only loopback"},
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
	for _, tt := range []struct {
		configured string
		port       int
		want       string
	}{
		{"127.0.0.1:4025", 4025, "127.0.0.1:5025"},
		{"127.0.0.1:32768", 32768, "127.0.0.1:33768"},
		{"127.0.0.1:64535", 64535, "127.0.0.1:65535"},
		{"127.0.0.1:64536", 64536, "127.0.0.1:0"},
		{"127.0.0.1:0", 4025, "127.0.0.1:0"},
		{"127.0.0.1:00", 40000, "127.0.0.1:0"},
		{"127.0.0.1:", 40000, "127.0.0.1:0"},
	} {
		if got := besideGRPC(tt.configured, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tt.port}); got != tt.want {
			t.Errorf("beside %s, listening on %d: %s, want %s", tt.configured, tt.port, got, tt.want)
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
