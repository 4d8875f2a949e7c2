// SPDX-License-Identifier: Apache-2.0

package mailservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/content"
)

// Bounds of one bulk stream.
const (
	// maxInFlight is the most messages of a stream that are not answered. It is four segments, so that the appender
	// fills one while another is being flushed.
	maxInFlight = 1024
	// maxInFlightBytes is the most content they may hold; a single larger message is taken alone.
	maxInFlightBytes = 32 << 20
)

// SubmitMany takes messages in bulk and answers each once it is durable, in any order (gateway.v1).
func (s *Service) SubmitMany(stream grpc.BidiStreamingServer[gatewayv1.SubmitManyRequest, gatewayv1.SubmitManyResponse]) error {
	p, err := s.parts()
	if err != nil {
		return err
	}
	b := &bulk{
		parts: p, log: s.log, bytes: semaphore.NewWeighted(maxInFlightBytes),
		slots: make(chan struct{}, maxInFlight), answers: make(chan *gatewayv1.SubmitManyResponse, maxInFlight),
	}
	sent := make(chan error, 1)
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() { sent <- b.send(stream.Send, cancel) }()
	taken := b.take(ctx, receive(stream.Context(), stream.Recv), s.stopping)
	b.working.Wait()
	close(b.answers)
	if err := <-sent; err != nil {
		return err
	}
	return taken
}

// bulk is one stream at work.
type bulk struct {
	parts   *Parts
	log     *slog.Logger
	bytes   *semaphore.Weighted
	slots   chan struct{}
	answers chan *gatewayv1.SubmitManyResponse // never blocks: there are as many places as slots
	working sync.WaitGroup
}

// take receives messages until the stream ends and submits each in a goroutine of its own.
func (b *bulk) take(ctx context.Context, in *incoming[gatewayv1.SubmitManyRequest], stop <-chan struct{}) error {
	for {
		request, err := in.next(ctx, 0, stop)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		weight := min(int64(len(request.GetContent())), maxInFlightBytes)
		select {
		case b.slots <- struct{}{}:
		case <-ctx.Done():
			return rpc.FromError(ctx.Err())
		}
		if err := b.bytes.Acquire(ctx, weight); err != nil {
			return rpc.FromError(err)
		}
		b.working.Go(func() {
			answer := b.submit(ctx, request)
			b.bytes.Release(weight)
			b.answers <- answer
		})
	}
}

// submit takes one message. A panic is kept in: it must end neither the process nor the other messages.
func (b *bulk) submit(ctx context.Context, in *gatewayv1.SubmitManyRequest) (answer *gatewayv1.SubmitManyResponse) {
	answer = &gatewayv1.SubmitManyResponse{Correlation: in.GetCorrelation()}
	defer func() {
		if cause := recover(); cause != nil {
			b.log.LogAttrs(ctx, slog.LevelError, "submission panicked",
				slog.String("error", fmt.Sprint(cause)), slog.String("stack", string(debug.Stack())))
			answer.Result = &gatewayv1.SubmitManyResponse_Refused{Refused: refusal(&rpc.Error{
				Code: codes.Internal, Reason: rpc.ReasonInternal, Message: "internal error",
			})}
		}
	}()
	err := tooLarge(len(in.GetContent()), b.parts)
	var accepted *gatewayv1.Accepted
	if err == nil {
		accepted, err = b.parts.Submitter.Submit(ctx, in.GetEnvelope(), content.Bytes(in.GetContent()))
	}
	if err != nil {
		answer.Result = &gatewayv1.SubmitManyResponse_Refused{Refused: refusal(rpc.FromError(err))}
		return answer
	}
	answer.Result = &gatewayv1.SubmitManyResponse_Accepted{Accepted: accepted}
	return answer
}

// send sends answers as they come. When the caller cannot be reached any more the work is given up, but every answer is
// taken, so that nobody waits.
func (b *bulk) send(send func(*gatewayv1.SubmitManyResponse) error, giveUp func()) (failed error) {
	for answer := range b.answers {
		if failed == nil {
			if failed = send(answer); failed != nil {
				giveUp()
			}
		}
		<-b.slots
	}
	return failed
}

// refusal says what the status of Submit would have said.
func refusal(err *rpc.Error) *gatewayv1.Refusal {
	r := &gatewayv1.Refusal{Code: int32(err.Code), Reason: err.Reason, Enhanced: err.Enhanced.String(), Message: err.Message}
	for _, f := range err.Fields {
		r.Fields = append(r.Fields, &gatewayv1.FieldFault{Field: f.Field, Description: f.Description})
	}
	if err.RetryAfter > 0 {
		r.RetryAfter = durationpb.New(err.RetryAfter)
	}
	return r
}
