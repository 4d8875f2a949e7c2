// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// DefaultTimeout is the deadline of a unary call whose context has none.
const DefaultTimeout = 30 * time.Second

// maxToken bounds a token file in bytes.
const maxToken = 4096

// ClientOptions say how a client connection is built.
type ClientOptions struct {
	// Token is the bearer token; TokenFile is a file that holds it, read once. At most one is set; neither sends none.
	Token     string
	TokenFile string
	// DefaultTimeout is the deadline of unary calls whose context has none. 0 is DefaultTimeout, negative is none.
	DefaultTimeout time.Duration
	// InMemory is the pipe to call over instead of a socket. The target is then only a name.
	InMemory *Pipe
	// TLS verifies the server; nil connects in clear. See ClientTLS.
	TLS *tls.Config
	// MaxReceive is the largest answer in bytes. 0 is DefaultMaxReceive.
	MaxReceive int
	// Tracer and Meter take spans and metrics of calls; nil ones take none.
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
}

// Dial returns a connection to target, "host:port". It does not wait for the server: the first call does. Errors of
// calls are turned by FromError.
func Dial(target string, opts ClientOptions) (*grpc.ClientConn, error) {
	token, err := opts.token()
	if err != nil {
		return nil, err
	}
	maxReceive := opts.MaxReceive
	if maxReceive == 0 {
		maxReceive = DefaultMaxReceive
	}
	transport := insecure.NewCredentials()
	if opts.TLS != nil && opts.InMemory == nil {
		transport = credentials.NewTLS(opts.TLS)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceive)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 5 * time.Second, Backoff: backoff.Config{
			BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second,
		}}),
		grpc.WithChainUnaryInterceptor(deadline(opts.DefaultTimeout)),
	}
	if opts.InMemory != nil {
		target = "passthrough:///" + target
		options = append(options, grpc.WithChainUnaryInterceptor(opts.InMemory.interceptor(token)), grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return opts.InMemory.dial(ctx)
		}))
	}
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearerToken(token)))
	}
	if h := telemetryHandler(otelgrpc.NewClientHandler, opts.Tracer, opts.Meter); h != nil {
		options = append(options, grpc.WithStatsHandler(h))
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	return conn, nil
}

// token returns the bearer token to send, "" for none.
func (o ClientOptions) token() (string, error) {
	if o.TokenFile == "" {
		return o.Token, nil
	}
	if o.Token != "" {
		return "", errors.New("dial: a token and a token file are given; one is enough")
	}
	f, err := os.Open(o.TokenFile)
	if err != nil {
		return "", fmt.Errorf("read token file: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("read token file %s: %w", o.TokenFile, err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" || len(data) > maxToken || strings.ContainsAny(token, "\r\n\x00 ") {
		return "", fmt.Errorf("token file %s: must hold one token of at most %d bytes on one line", o.TokenFile, maxToken)
	}
	return token, nil
}

// deadline gives unary calls without a deadline one.
func deadline(timeout time.Duration) grpc.UnaryClientInterceptor {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if _, set := ctx.Deadline(); !set && timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	}
}

// bearerToken sends a token with every call.
type bearerToken string

// GetRequestMetadata returns the header (credentials.PerRPCCredentials).
func (t bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

// RequireTransportSecurity lets tokens travel in clear: on loopback and private networks the operator decides
// (credentials.PerRPCCredentials).
func (bearerToken) RequireTransportSecurity() bool { return false }
