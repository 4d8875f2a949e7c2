// SPDX-License-Identifier: Apache-2.0

package enqueue

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/gateway/internal/content"
)

// Reasons of a message the queue did not take.
const (
	// ReasonQueueFull is a queue without room (RFC 3463: 4.3.1).
	ReasonQueueFull = "QUEUE_FULL"
	// ReasonQueueAway is a queue that does not answer (RFC 3463: 4.3.2).
	ReasonQueueAway = "QUEUE_UNAVAILABLE"
)

// Pauses a refused caller is asked to make (RetryInfo).
const (
	retryFull = 30 * time.Second
	retryAway = 2 * time.Second
)

// Full is the answer while the queue has no room.
func Full(cause error) *rpc.Error {
	return &rpc.Error{
		Code: codes.ResourceExhausted, Reason: ReasonQueueFull, Enhanced: smtpreply.Code(4, 3, 1),
		Message: "the queue is full", RetryAfter: retryFull, Err: cause,
	}
}

// Away is the answer while the queue does not answer.
func Away(cause error) *rpc.Error {
	return &rpc.Error{
		Code: codes.Unavailable, Reason: ReasonQueueAway, Enhanced: smtpreply.Code(4, 3, 2),
		Message: "the queue cannot be reached now", RetryAfter: retryAway, Err: cause,
	}
}

// refused translates an error of the appender and forgets a content that surely is in no record.
func (q *Queue) refused(ctx context.Context, m *Message, err error) error {
	unavailable, isAway := errors.AsType[*bus.UnavailableError](err)
	if !isAway || !unavailable.MaybeStored {
		q.Discard(ctx, m)
	}
	if ended := ended(ctx, err); ended != nil {
		return ended
	}
	if _, ok := errors.AsType[*bus.FullError](err); ok || errors.Is(err, bus.ErrNoRoom) {
		return Full(err)
	}
	if isAway || errors.Is(err, bus.ErrClosed) {
		return Away(err)
	}
	if _, ok := errors.AsType[*bus.TooLargeError](err); ok {
		return &rpc.Error{
			Code: codes.InvalidArgument, Reason: content.ReasonTooLarge, Enhanced: smtpreply.Code(5, 3, 4),
			Message: "the envelope is too large", Fields: []rpc.Field{{Field: "envelope", Description: "is too large for one message"}}, Err: err,
		}
	}
	if _, ok := errors.AsType[*bus.RejectedError](err); ok {
		return Away(err)
	}
	return err
}

// ended is the answer when the caller's time is over (G-14), nil when it is not.
func ended(ctx context.Context, err error) error {
	cause := ctx.Err()
	if cause == nil {
		return nil
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		return &rpc.Error{
			Code: codes.DeadlineExceeded, Reason: rpc.ReasonDeadline, Enhanced: smtpreply.Code(4, 3, 2),
			Message: "the deadline passed before the message was durable", Err: err,
		}
	}
	return &rpc.Error{
		Code: codes.Canceled, Reason: rpc.ReasonCancelled, Enhanced: smtpreply.Code(4, 3, 2),
		Message: "the call was cancelled before the message was durable", Err: err,
	}
}

// bodyError translates an error of the body store. Faults of the content and errors of the caller come through it
// unchanged, since the store reads from them.
func bodyError(ctx context.Context, err error) error {
	if fault, ok := errors.AsType[*content.Fault](err); ok {
		return fault
	}
	if own, ok := errors.AsType[*rpc.Error](err); ok {
		return own
	}
	if ended := ended(ctx, err); ended != nil {
		return ended
	}
	if _, ok := errors.AsType[*bus.FullError](err); ok || noSpace(err) {
		return Full(err)
	}
	return Away(err)
}
