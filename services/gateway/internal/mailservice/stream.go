// SPDX-License-Identifier: Apache-2.0

package mailservice

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// incoming receives a stream's messages in a goroutine, so that waiting for one can be given up. The goroutine ends with
// the stream, that is when the handler returns.
type incoming[T any] struct {
	messages chan received[T]
}

type received[T any] struct {
	message *T
	err     error
}

// receive starts receiving. The stream's context bounds it.
func receive[T any](ctx context.Context, recv func() (*T, error)) *incoming[T] {
	in := &incoming[T]{messages: make(chan received[T])}
	go func() {
		for {
			message, err := recv()
			select {
			case in.messages <- received[T]{message, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return in
}

// next waits for the next message; io.EOF is the end of the stream, as it comes.
func (in *incoming[T]) next(ctx context.Context, limit time.Duration, stop <-chan struct{}) (*T, error) {
	var timeout <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case r := <-in.messages:
		if r.err == nil || errors.Is(r.err, io.EOF) {
			return r.message, r.err
		}
		return nil, rpc.FromError(r.err)
	case <-timeout:
		return nil, slowStream()
	case <-stop:
		return nil, stopping()
	case <-ctx.Done():
		return nil, rpc.FromError(ctx.Err())
	}
}

// SubmitStream takes one message in pieces (gateway.v1).
func (s *Service) SubmitStream(stream grpc.ClientStreamingServer[gatewayv1.SubmitStreamRequest, gatewayv1.SubmitStreamResponse]) error {
	p, err := s.parts()
	if err != nil {
		return err
	}
	ctx := stream.Context()
	in := receive(ctx, stream.Recv)
	first, err := in.next(ctx, s.piece, nil)
	if errors.Is(err, io.EOF) {
		return badStream("envelope", "must be the first message of the stream")
	}
	if err != nil {
		return err
	}
	if first.GetEnvelope() == nil {
		return badStream("envelope", "must be the first message of the stream")
	}
	accepted, err := p.Submitter.Submit(ctx, first.GetEnvelope(), &streamSource{ctx: ctx, in: in, limit: s.piece})
	if err != nil {
		return err
	}
	return stream.SendAndClose(&gatewayv1.SubmitStreamResponse{Accepted: accepted})
}

// streamSource gives the pieces of content of a stream.
type streamSource struct {
	ctx   context.Context //nolint:containedctx // Source has none, and the source lives as long as the call
	in    *incoming[gatewayv1.SubmitStreamRequest]
	limit time.Duration
}

// Next returns the next piece (content.Source).
func (s *streamSource) Next() ([]byte, error) {
	message, err := s.in.next(s.ctx, s.limit, nil)
	if err != nil {
		return nil, err
	}
	if message.GetEnvelope() != nil {
		return nil, badStream("envelope", "must come once")
	}
	if len(message.GetContent()) > MaxUnary {
		return nil, badStream("content", "must come in pieces of at most "+bytesText(MaxUnary))
	}
	return message.GetContent(), nil
}
