// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/stats"
)

// Defaults of a server.
const (
	// DefaultMaxReceive is the largest request in bytes: above the 4 MiB of Submit, so that our typed error comes first
	// (G-06).
	DefaultMaxReceive = 5 << 20
	// DefaultDrain is how long Serve waits for calls to end before it cuts them off.
	DefaultDrain = 10 * time.Second
	// maxStreams bounds the calls under way on one connection.
	maxStreams = 4096
	// maxHeader bounds the header of a call in bytes.
	maxHeader = 64 << 10
)

// ServerOptions say how a server is built. The zero value is a server without tokens, traces and TLS.
type ServerOptions struct {
	// Log takes panics and errors that callers may not see; its handler should add trace ids (telemetry.LogHandler). Nil
	// discards them.
	Log *slog.Logger
	// Tokens are the known callers. Nil lets everybody do everything: for loopback only, see CheckListen.
	Tokens *Tokens
	// Rights are the rights methods need, by full name "/package.Service/Method".
	Rights map[string]Right
	// DefaultRight is needed by methods Rights does not name. Empty is RightOperator.
	DefaultRight Right
	// MaxReceive is the largest request message in bytes. 0 is DefaultMaxReceive.
	MaxReceive int
	// Drain is how long calls may take to end when the server stops. 0 is DefaultDrain.
	Drain time.Duration
	// TLS is used on sockets; nil serves in clear. See ServerTLS.
	TLS *tls.Config
	// Tracer and Meter take spans and metrics of calls; nil ones take none.
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
}

// Server is a gRPC server with health, reflection, authentication and error mapping. It is a grpc.ServiceRegistrar.
type Server struct {
	grpc    *grpc.Server
	health  *health.Server
	opts    ServerOptions
	methods map[string]unaryMethod // for pipes
}

// NewServer builds a server. Register services on it, then Serve.
func NewServer(opts ServerOptions) *Server {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.DefaultRight == "" {
		opts.DefaultRight = RightOperator
	}
	if opts.MaxReceive == 0 {
		opts.MaxReceive = DefaultMaxReceive
	}
	if opts.Drain == 0 {
		opts.Drain = DefaultDrain
	}
	transport := insecure.NewCredentials()
	if opts.TLS != nil {
		transport = credentials.NewTLS(opts.TLS)
	}
	s := &Server{opts: opts, health: health.NewServer(), methods: map[string]unaryMethod{}}
	options := []grpc.ServerOption{
		grpc.Creds(pipeCredentials{transport}),
		grpc.MaxRecvMsgSize(opts.MaxReceive),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(20 * time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.InTapHandle(s.admit),
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
	}
	if h := telemetryHandler(otelgrpc.NewServerHandler, opts.Tracer, opts.Meter); h != nil {
		options = append(options, grpc.StatsHandler(h))
	}
	s.grpc = grpc.NewServer(options...)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	return s
}

// telemetryHandler returns the otelgrpc handler, nil when there is nothing to report to.
func telemetryHandler(build func(...otelgrpc.Option) stats.Handler, tracer trace.TracerProvider, meter metric.MeterProvider) stats.Handler {
	if tracer == nil && meter == nil {
		return nil
	}
	options := []otelgrpc.Option{
		otelgrpc.WithPropagators(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
		otelgrpc.WithFilter(func(info *stats.RPCTagInfo) bool { return !isPlumbing(info.FullMethodName) }),
	}
	if tracer != nil {
		options = append(options, otelgrpc.WithTracerProvider(tracer))
	}
	if meter != nil {
		options = append(options, otelgrpc.WithMeterProvider(meter))
	}
	return build(options...)
}

// isPlumbing reports health and reflection, which are kept out of traces.
func isPlumbing(method string) bool {
	return strings.HasPrefix(method, "/grpc.health.") || strings.HasPrefix(method, "/grpc.reflection.")
}

// RegisterService adds a service (grpc.ServiceRegistrar).
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.grpc.RegisterService(desc, impl)
	s.register(desc, impl)
}

// SetRight sets the right a method needs, by full name. It is called before Serve.
func (s *Server) SetRight(fullMethod string, right Right) {
	rights := map[string]Right{fullMethod: right}
	for method, r := range s.opts.Rights {
		if method != fullMethod {
			rights[method] = r
		}
	}
	s.opts.Rights = rights
}

// SetServing sets what grpc.health.v1 answers for a service; "" is the server as a whole.
func (s *Server) SetServing(service string, serving bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus(service, state)
}

// Serving reports what grpc.health.v1 answers for the server as a whole.
func (s *Server) Serving() bool {
	answer, err := s.health.Check(context.Background(), &healthv1.HealthCheckRequest{})
	return err == nil && answer.GetStatus() == healthv1.HealthCheckResponse_SERVING
}

// Serve serves on all listeners until ctx ends, then answers NOT_SERVING, lets calls under way end for at most
// ServerOptions.Drain, cuts off the rest and returns nil. It closes the listeners. An error is one of a listener.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		if pipe, ok := l.(*Pipe); ok {
			pipe.open(s)
			defer context.AfterFunc(ctx, pipe.shut)()
		}
		group.Go(func() error {
			if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serve gRPC on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		s.stop()
		return nil
	})
	return group.Wait()
}

// stop ends gracefully, and after the drain time hard.
func (s *Server) stop() {
	s.health.Shutdown()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	timer := time.NewTimer(s.opts.Drain)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.grpc.Stop()
		<-done
	}
}

// Services returns the full names of the registered services, without health and reflection.
func (s *Server) Services() []string {
	var names []string
	for name := range s.grpc.GetServiceInfo() {
		if !isPlumbing("/" + name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
