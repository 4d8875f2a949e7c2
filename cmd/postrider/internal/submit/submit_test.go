// SPDX-License-Identifier: Apache-2.0

package submit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/postrider/postrider/cmd/postrider/internal/submit"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// gateway keeps what was submitted, and by which call. It refuses a stream after so many bytes when refuseAfter is set.
type gateway struct {
	gatewayv1.UnimplementedMailServiceServer
	refuseAfter int
	got         chan received
}

type received struct {
	id, sender string
	content    []byte
}

func (g *gateway) Submit(_ context.Context, in *gatewayv1.SubmitRequest) (*gatewayv1.SubmitResponse, error) {
	g.got <- received{"unary", in.GetEnvelope().GetSender(), in.GetContent()}
	return &gatewayv1.SubmitResponse{Accepted: &gatewayv1.Accepted{MessageId: "unary"}}, nil
}

func (g *gateway) SubmitStream(call grpc.ClientStreamingServer[gatewayv1.SubmitStreamRequest, gatewayv1.SubmitStreamResponse]) error {
	r := received{id: "stream"}
	for {
		in, err := call.Recv()
		if errors.Is(err, io.EOF) {
			g.got <- r
			return call.SendAndClose(&gatewayv1.SubmitStreamResponse{Accepted: &gatewayv1.Accepted{MessageId: "stream"}})
		}
		if err != nil {
			return err
		}
		if e := in.GetEnvelope(); e != nil {
			r.sender = e.GetSender()
		}
		r.content = append(r.content, in.GetContent()...)
		if g.refuseAfter > 0 && len(r.content) >= g.refuseAfter {
			return status.Error(codes.InvalidArgument, "too large")
		}
	}
}

func dial(t *testing.T, g *gateway) gatewayv1.MailServiceClient {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(8 << 20))
	gatewayv1.RegisterMailServiceServer(s, g)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return gatewayv1.NewMailServiceClient(conn)
}

func TestMessageTakesTheCallThatFitsItsSize(t *testing.T) {
	g := &gateway{got: make(chan received, 1)}
	mail := dial(t, g)
	for size, call := range map[int]string{0: "unary", 4 << 20: "unary", 4<<20 + 1: "stream", 5<<20 + 7: "stream"} {
		content := bytes.Repeat([]byte("0123456789\r\n"), size/12+1)[:size]
		accepted, err := submit.Message(t.Context(), mail, &gatewayv1.Envelope{Sender: "a@sender.example"}, content)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		got := <-g.got
		if accepted.GetMessageId() != call || got.id != call || got.sender != "a@sender.example" || !bytes.Equal(got.content, content) {
			t.Errorf("%d bytes: receipt %q, %s of %d bytes from %q; want %s", size, accepted.GetMessageId(), got.id, len(got.content), got.sender, call)
		}
	}
}

func TestMessageTellsWhyAStreamWasRefused(t *testing.T) {
	mail := dial(t, &gateway{refuseAfter: 1 << 20})
	accepted, err := submit.Message(t.Context(), mail, &gatewayv1.Envelope{}, make([]byte, 16<<20))
	if status.Code(err) != codes.InvalidArgument || accepted != nil {
		t.Errorf("receipt %v, error %v; want the refusal", accepted, err)
	}
}
