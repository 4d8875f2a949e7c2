// SPDX-License-Identifier: Apache-2.0

package mailservice

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/content"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// submitter is a Submitter that a test writes.
type submitter func(ctx context.Context, in *gatewayv1.Envelope) (*gatewayv1.Accepted, error)

func (s submitter) Submit(ctx context.Context, in *gatewayv1.Envelope, _ content.Source) (*gatewayv1.Accepted, error) {
	return s(ctx, in)
}

// serve runs the service on a server of ours and returns a client.
func serve(t *testing.T, s submitter) gatewayv1.MailServiceClient {
	t.Helper()
	parts := &Parts{Submitter: s, MaxSize: 1 << 20}
	server := rpc.NewServer(rpc.ServerOptions{Rights: Rights()})
	service := New(func() (*Parts, error) { return parts, nil }, nil, slog.New(slog.DiscardHandler))
	gatewayv1.RegisterMailServiceServer(server, service)
	pipe := rpc.NewPipe()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, pipe) }()
	conn, err := rpc.Dial("test", rpc.ClientOptions{InMemory: pipe, Token: pipe.Issue("test", rpc.AllRights()...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return gatewayv1.NewMailServiceClient(conn)
}

func TestPieceThatDoesNotComeEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		in := receive(ctx, func() (*gatewayv1.SubmitStreamRequest, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		began := time.Now()
		_, err := in.next(ctx, pieceLimit, nil)
		if e := rpc.FromError(err); e.Code != codes.DeadlineExceeded || e.Reason != ReasonStream || time.Since(began) != 5*time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestPiecesAreHandedOnUntilTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	in := receive(ctx, func() (*gatewayv1.SubmitStreamRequest, error) {
		if n++; n > 3 {
			return nil, io.EOF
		}
		return &gatewayv1.SubmitStreamRequest{}, nil
	})
	for range 3 {
		if _, err := in.next(ctx, time.Minute, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.next(ctx, time.Minute, nil); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestSubmitManyIsBounded(t *testing.T) {
	var under, most atomic.Int64
	goOn := make(chan struct{})
	full := make(chan struct{})
	var once sync.Once
	client := serve(t, func(context.Context, *gatewayv1.Envelope) (*gatewayv1.Accepted, error) {
		if n := under.Add(1); n > most.Load() {
			most.Store(n)
			if n == maxInFlight {
				once.Do(func() { close(full) })
			}
		}
		<-goOn
		under.Add(-1)
		return &gatewayv1.Accepted{}, nil
	})
	s, err := client.SubmitMany(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const n = 2 * maxInFlight
	go func() {
		for i := range n {
			if s.Send(&gatewayv1.SubmitManyRequest{Correlation: uint64(i), Envelope: &gatewayv1.Envelope{}}) != nil {
				return
			}
		}
		_ = s.CloseSend()
	}()
	<-full
	close(goOn)
	seen := map[uint64]bool{}
	for {
		answer, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[answer.GetCorrelation()] = true
	}
	if len(seen) != n || most.Load() > maxInFlight {
		t.Errorf("%d answers, up to %d at once", len(seen), most.Load())
	}
}

func TestPanicRefusesOneMessageOnly(t *testing.T) {
	client := serve(t, func(_ context.Context, in *gatewayv1.Envelope) (*gatewayv1.Accepted, error) {
		if in.GetTag() == "bad" {
			panic("boom")
		}
		return &gatewayv1.Accepted{MessageId: "ok"}, nil
	})
	s, err := client.SubmitMany(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, tag := range []string{"good", "bad", "good"} {
		if err := s.Send(&gatewayv1.SubmitManyRequest{Correlation: uint64(i), Envelope: &gatewayv1.Envelope{Tag: tag}}); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.CloseSend()
	for range 3 {
		answer, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		refused := answer.GetRefused()
		if (answer.GetCorrelation() == 1) != (refused != nil) || refused != nil && (codes.Code(refused.GetCode()) != codes.Internal || refused.GetReason() != "INTERNAL") {
			t.Errorf("%v", answer)
		}
	}
}

// TestCallerThatGoesAwayEndsTheWork leaves a stream in the middle; goleak finds what stays behind.
func TestCallerThatGoesAwayEndsTheWork(t *testing.T) {
	working, ended := make(chan struct{}, 10), make(chan struct{}, 10)
	client := serve(t, func(ctx context.Context, _ *gatewayv1.Envelope) (*gatewayv1.Accepted, error) {
		working <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	s, err := client.SubmitMany(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.Send(&gatewayv1.SubmitManyRequest{Envelope: &gatewayv1.Envelope{}}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		<-working
	}
	cancel()
	for range 3 {
		<-ended
	}
}
