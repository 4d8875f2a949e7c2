// SPDX-License-Identifier: Apache-2.0

package mailservice

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/content"
	"github.com/postrider/postrider/services/gateway/internal/explain"
)

const (
	// MaxUnary is the most bytes of content in one request (G-06). The server's own limit is higher, so that this error
	// comes first.
	MaxUnary = 4 << 20
	// pieceLimit is how long SubmitStream waits for the next piece (RFC 5321, section 4.5.3.2.7, as for SMTP).
	pieceLimit = 5 * time.Minute
)

// Submitter takes messages (internal/submit).
type Submitter interface {
	Submit(ctx context.Context, in *gatewayv1.Envelope, src content.Source) (*gatewayv1.Accepted, error)
}

// View tells what became of messages (internal/statusview).
type View interface {
	// Message returns a message and the name of the caller that submitted it, "" when that is not known. The error is
	// an *rpc.Error.
	Message(ctx context.Context, id string) (message *gatewayv1.Message, caller string, err error)
	// Explain is Message with what the loop rules decided about it.
	Explain(ctx context.Context, id string) (message *gatewayv1.Message, loop *eventv1.LoopTrace, caller string, err error)
	// List returns one page of messages.
	List(ctx context.Context, in *gatewayv1.ListMessagesRequest) (*gatewayv1.ListMessagesResponse, error)
}

// Refusals tells of messages that were refused as loops (internal/refusals).
type Refusals interface {
	// Find returns nil when none is known.
	Find(ctx context.Context, messageID string) (*eventv1.LoopRefusal, error)
}

// Watcher streams events (internal/events).
type Watcher interface {
	Watch(ctx context.Context, in *gatewayv1.WatchEventsRequest, send func(*gatewayv1.WatchEventsResponse) error) error
}

// Parts is what the service works with once the queue has been found.
type Parts struct {
	Submitter Submitter
	View      View
	Refusals  Refusals
	Watcher   Watcher
	Canceller Canceller
	// MaxSize is gateway.max_message_size.
	MaxSize int64
}

// Service implements MailService.
type Service struct {
	gatewayv1.UnimplementedMailServiceServer
	parts    func() (*Parts, error)
	stopping <-chan struct{}
	log      *slog.Logger
	piece    time.Duration
}

// New returns the service. parts gives an *rpc.Error while the queue has not been found yet; stopping ends long-lived
// streams.
func New(parts func() (*Parts, error), stopping <-chan struct{}, log *slog.Logger) *Service {
	return &Service{parts: parts, stopping: stopping, log: log, piece: pieceLimit}
}

// Rights returns the rights of the methods.
func Rights() map[string]rpc.Right {
	return map[string]rpc.Right{
		gatewayv1.MailService_Submit_FullMethodName:         rpc.RightSubmit,
		gatewayv1.MailService_SubmitStream_FullMethodName:   rpc.RightSubmit,
		gatewayv1.MailService_SubmitMany_FullMethodName:     rpc.RightSubmit,
		gatewayv1.MailService_GetMessage_FullMethodName:     rpc.RightSubmit,
		gatewayv1.MailService_ExplainMessage_FullMethodName: rpc.RightSubmit,
		gatewayv1.MailService_CancelMessage_FullMethodName:  rpc.RightSubmit,
	}
}

// tooLarge refuses a message over a limit in one request.
func tooLarge(size int, p *Parts) error {
	limit, hint := int64(MaxUnary), "; use SubmitStream for larger messages"
	if p.MaxSize <= limit {
		limit, hint = p.MaxSize, ""
	}
	if int64(size) <= limit {
		return nil
	}
	description := "is larger than the limit of " + bytesText(limit) + hint
	return &rpc.Error{
		Code: codes.InvalidArgument, Reason: content.ReasonTooLarge, Enhanced: smtpreply.Code(5, 3, 4),
		Message: "the message is too large", Fields: []rpc.Field{{Field: "content", Description: description}},
	}
}

// Submit takes one message (gateway.v1).
func (s *Service) Submit(ctx context.Context, in *gatewayv1.SubmitRequest) (*gatewayv1.SubmitResponse, error) {
	p, err := s.parts()
	if err != nil {
		return nil, err
	}
	if err := tooLarge(len(in.GetContent()), p); err != nil {
		return nil, err
	}
	accepted, err := p.Submitter.Submit(ctx, in.GetEnvelope(), content.Bytes(in.GetContent()))
	if err != nil {
		return nil, err
	}
	return &gatewayv1.SubmitResponse{Accepted: accepted}, nil
}

// GetMessage returns where a message stands (gateway.v1). A caller that is no operator sees its own messages only.
func (s *Service) GetMessage(ctx context.Context, in *gatewayv1.GetMessageRequest) (*gatewayv1.GetMessageResponse, error) {
	p, err := s.parts()
	if err != nil {
		return nil, err
	}
	message, submitter, err := p.View.Message(ctx, in.GetMessageId())
	if err != nil {
		return nil, err
	}
	if !mayAsk(ctx, submitter) {
		return nil, NotFound()
	}
	return &gatewayv1.GetMessageResponse{Message: message}, nil
}

// mayAsk reports whether the caller may ask about another's message, or it is its own.
func mayAsk(ctx context.Context, submitter string) bool {
	caller := rpc.CallerFrom(ctx)
	return submitter == "" || submitter == caller.Name || caller.Has(rpc.RightOperator)
}

// ExplainMessage returns the decisions made for a message (gateway.v1), with the rights of GetMessage.
func (s *Service) ExplainMessage(ctx context.Context, in *gatewayv1.ExplainMessageRequest) (*gatewayv1.ExplainMessageResponse, error) {
	p, err := s.parts()
	if err != nil {
		return nil, err
	}
	message, loop, submitter, err := p.View.Explain(ctx, in.GetMessageId())
	e, typed := errors.AsType[*rpc.Error](err)
	if err == nil && loop == nil || typed && e.Code == codes.NotFound { // in no queue, so far as is known
		refused, findErr := p.Refusals.Find(ctx, strings.ToUpper(in.GetMessageId()))
		if findErr != nil {
			return nil, refusalsAway(findErr)
		}
		if refused != nil && mayAsk(ctx, refused.GetCaller()) {
			return &gatewayv1.ExplainMessageResponse{Decisions: explain.Refused(refused)}, nil
		}
	}
	if err != nil {
		return nil, err
	}
	if !mayAsk(ctx, submitter) {
		return nil, NotFound()
	}
	return &gatewayv1.ExplainMessageResponse{Decisions: explain.Message(message, loop)}, nil
}

// ListMessages returns messages page by page (gateway.v1).
func (s *Service) ListMessages(ctx context.Context, in *gatewayv1.ListMessagesRequest) (*gatewayv1.ListMessagesResponse, error) {
	p, err := s.parts()
	if err != nil {
		return nil, err
	}
	return p.View.List(ctx, in)
}

// WatchEvents streams events until the caller or the gateway ends it (gateway.v1).
func (s *Service) WatchEvents(in *gatewayv1.WatchEventsRequest, stream grpc.ServerStreamingServer[gatewayv1.WatchEventsResponse]) error {
	p, err := s.parts()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	go func() {
		select {
		case <-s.stopping:
			cancel(stopping())
		case <-ctx.Done():
		}
	}()
	err = p.Watcher.Watch(ctx, in, stream.Send)
	if stopped, ok := errors.AsType[*rpc.Error](context.Cause(ctx)); ok {
		return stopped
	}
	return err
}
