// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
)

// whole is a server whose Preview answers with a text, and keeps what it was asked.
type whole struct {
	dsnv1.UnimplementedDsnServiceServer
	asked    *dsnv1.PreviewRequest
	answer   *dsnv1.PreviewResponse
	overWire bool
	fail     func() error
}

func (w *whole) Preview(ctx context.Context, req *dsnv1.PreviewRequest) (*dsnv1.PreviewResponse, error) {
	_, w.overWire = peer.FromContext(ctx)
	w.asked = req
	if w.fail != nil {
		return nil, w.fail()
	}
	return w.answer, nil
}

// serveWhole serves w over a pipe until the test ends.
func serveWhole(t testing.TB, w *whole) *Pipe {
	t.Helper()
	pipe, server := NewPipe(), NewServer(ServerOptions{})
	dsnv1.RegisterDsnServiceServer(server, w)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, pipe) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return pipe
}

func dialPipe(t testing.TB, pipe *Pipe) dsnv1.DsnServiceClient {
	t.Helper()
	conn, err := Dial("in-process", ClientOptions{InMemory: pipe, Token: pipe.Issue("sender", RightOperator)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return dsnv1.NewDsnServiceClient(conn)
}

// serving makes sure that the server serves: a first call waits for it over the transport.
func serving(t testing.TB, client dsnv1.DsnServiceClient) {
	t.Helper()
	if _, err := client.Preview(t.Context(), &dsnv1.PreviewRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestDirectCallSharesNothing(t *testing.T) {
	w := &whole{answer: &dsnv1.PreviewResponse{Decisions: []*dsnv1.Decision{{Reason: "because"}}}}
	client := dialPipe(t, serveWhole(t, w))
	serving(t, client)
	request := &dsnv1.PreviewRequest{Original: []byte("Subject: x\r\n")}
	answer, err := client.Preview(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if w.overWire {
		t.Error("the call took the transport")
	}
	if !proto.Equal(w.asked, request) || !proto.Equal(answer, w.answer) {
		t.Errorf("asked %v, answered %v", w.asked, answer)
	}
	if w.asked == request || answer == w.answer {
		t.Error("both sides hold the same message")
	}
}

// TestDirectCallFailsAsOverTheTransport holds both ways against each other.
func TestDirectCallFailsAsOverTheTransport(t *testing.T) {
	r := start(t, ServerOptions{})
	token := r.pipe.Issue("sender", RightOperator)
	r.services.preview = nil
	if err := r.preview(t, ClientOptions{InMemory: r.pipe, Token: token}); err != nil { // it serves from here on
		t.Fatal(err)
	}
	for name, fail := range map[string]func() error{
		"typed": func() error {
			return &Error{Code: codes.InvalidArgument, Reason: "BAD", Message: "no", Fields: []Field{{Field: "original", Description: "is none"}}}
		},
		"untyped": func() error { return context.DeadlineExceeded },
		"panic":   func() error { panic("no") },
	} {
		r.services.preview = func(context.Context, *dsnv1.PreviewRequest) error { return fail() }
		near := r.preview(t, ClientOptions{InMemory: r.pipe, Token: token})
		far := r.preview(t, ClientOptions{})
		if near == nil || near.Code == codes.OK {
			t.Errorf("%s: no error", name)
		}
		if diff := cmp.Diff(far.GRPCStatus().Proto(), near.GRPCStatus().Proto(), cmp.Comparer(proto.Equal)); diff != "" {
			t.Errorf("%s: over a socket (-), direct (+):\n%s", name, diff)
		}
	}
}

func TestDirectCallAfterTheEnd(t *testing.T) {
	pipe, server := NewPipe(), NewServer(ServerOptions{})
	dsnv1.RegisterDsnServiceServer(server, &whole{answer: &dsnv1.PreviewResponse{}})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, pipe) }()
	client := dialPipe(t, pipe)
	serving(t, client)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	_, err := client.Preview(t.Context(), &dsnv1.PreviewRequest{})
	if e := FromError(err); e == nil || e.Code != codes.Unavailable {
		t.Errorf("after the end: %v, want UNAVAILABLE", err)
	}
}

// BenchmarkPipe compares a call past the transport with one over it.
func BenchmarkPipe(b *testing.B) {
	for _, way := range []string{"direct", "transport"} {
		b.Run(way, func(b *testing.B) {
			pipe := serveWhole(b, &whole{answer: &dsnv1.PreviewResponse{Decisions: []*dsnv1.Decision{{Reason: "because"}}}})
			client := dialPipe(b, pipe)
			serving(b, client)
			if way == "transport" {
				pipe.shut()
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Preview(b.Context(), &dsnv1.PreviewRequest{Original: []byte("Subject: x\r\n")}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
