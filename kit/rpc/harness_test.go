// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/telemetry"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
)

// fakeServices are two services whose answers a test decides.
type fakeServices struct {
	dsnv1.UnimplementedDsnServiceServer
	senderv1.UnimplementedSenderServiceServer
	preview func(context.Context, *dsnv1.PreviewRequest) error
	probe   func(grpc.ServerStreamingServer[senderv1.ProbeResponse]) error
}

func (f *fakeServices) Preview(ctx context.Context, req *dsnv1.PreviewRequest) (*dsnv1.PreviewResponse, error) {
	if f.preview != nil {
		if err := f.preview(ctx, req); err != nil {
			return nil, err
		}
	}
	return &dsnv1.PreviewResponse{}, nil
}

func (f *fakeServices) Probe(_ *senderv1.ProbeRequest, stream grpc.ServerStreamingServer[senderv1.ProbeResponse]) error {
	return f.probe(stream)
}

// running is a server on a loopback socket and over a pipe.
type running struct {
	*Server
	services *fakeServices
	addr     string
	pipe     *Pipe
	stop     context.CancelFunc
	ended    chan error
	log      *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

func start(t *testing.T, opts ServerOptions) *running {
	t.Helper()
	r := &running{services: &fakeServices{}, pipe: NewPipe(), ended: make(chan error, 1), log: &syncBuffer{}}
	opts.Log = slog.New(telemetry.LogHandler(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	r.Server = NewServer(opts)
	dsnv1.RegisterDsnServiceServer(r.Server, r.services)
	senderv1.RegisterSenderServiceServer(r.Server, r.services)
	var lc net.ListenConfig
	socket, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = socket.Addr().String()
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() { r.ended <- r.Serve(ctx, socket, r.pipe) }()
	t.Cleanup(func() {
		r.stop()
		if err := <-r.ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		r.ended <- nil
	})
	return r
}

func (r *running) dial(t *testing.T, opts ClientOptions) *grpc.ClientConn {
	t.Helper()
	conn, err := Dial(r.addr, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (r *running) preview(t *testing.T, opts ClientOptions) *Error {
	t.Helper()
	_, err := dsnv1.NewDsnServiceClient(r.dial(t, opts)).Preview(t.Context(), &dsnv1.PreviewRequest{})
	return FromError(err)
}
