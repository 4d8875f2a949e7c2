// SPDX-License-Identifier: Apache-2.0

package submit

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// Bounds of the pause between two tries, and of the time between two alarms about the same notification.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 30 * time.Second
	maxAsked   = 5 * time.Minute
	alarmEvery = time.Minute
)

// DefaultTimeout is how long one call may take.
const DefaultTimeout = 30 * time.Second

// Notification is a message to be handed in.
type Notification struct {
	// Key is the idempotency key. Two notifications with the same key are one.
	Key string
	// Recipient is the only recipient: the original's envelope sender.
	Recipient string
	// Content is the message.
	Content []byte
	// RequireTLS is set when the original was a REQUIRETLS message (RFC 8689, section 5).
	RequireTLS bool
	// About is the outcome reported on: its tenant, priority, message id and loop trace go along.
	About *eventv1.Outcome
}

// Receipt is how the handing in ended. Exactly one of accepted and refused is true.
type Receipt struct {
	// MessageID is the id of the notification; empty when it was refused, or was accepted before in another form.
	MessageID string
	// Duplicate tells that it was accepted before.
	Duplicate bool
	// Refused is why the gateway does not take it and never will; nil when it was accepted.
	Refused *rpc.Error
	// Tries is how many calls it took.
	Tries int
}

// Observer is told of every call that did not hand a notification in. It must not block.
type Observer interface {
	// SubmitFailed is called after each such call.
	SubmitFailed(err *rpc.Error)
}

// Client hands notifications in. It may be used by several goroutines.
type Client struct {
	// Gateway takes the mail.
	Gateway gatewayv1.MailServiceClient
	// Timeout bounds one call; 0 is DefaultTimeout.
	Timeout time.Duration
	// Log takes alarms.
	Log *slog.Logger
	// Observer may be nil.
	Observer Observer
}

// Submit hands a notification in and returns when the gateway has it durably, or has refused it for good. It tries until
// then: what cannot be taken now is neither lost nor skipped. The only error is that of ctx.
func (c *Client) Submit(ctx context.Context, n Notification) (Receipt, error) {
	request := n.request()
	begun := time.Now()
	var alarmed time.Time
	for tries, pause := 1, firstPause; ; tries, pause = tries+1, min(2*pause, lastPause) {
		receipt, failure := c.try(ctx, request)
		receipt.Tries = tries
		if failure == nil {
			return receipt, nil
		}
		if ctx.Err() != nil {
			return receipt, ctx.Err()
		}
		if c.Observer != nil {
			c.Observer.SubmitFailed(failure)
		}
		if judge(failure) == refused {
			receipt.Refused = failure
			return receipt, nil
		}
		if time.Since(alarmed) >= alarmEvery && (!passing(failure) || time.Since(begun) >= alarmEvery) {
			alarmed = time.Now()
			c.alarm(ctx, n, failure, tries)
		}
		if err := sleep(ctx, wait(pause, failure.RetryAfter)); err != nil {
			return receipt, err
		}
	}
}

// try makes one call. A key that was used for other content is the same notification in another wording, of another
// version or configuration: it is accepted.
func (c *Client) try(ctx context.Context, request *gatewayv1.SubmitRequest) (Receipt, *rpc.Error) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	response, err := c.Gateway.Submit(ctx, request)
	if err == nil {
		accepted := response.GetAccepted()
		return Receipt{MessageID: accepted.GetMessageId(), Duplicate: accepted.GetDuplicate()}, nil
	}
	failure := rpc.FromError(err)
	if judge(failure) == known {
		return Receipt{Duplicate: true}, nil
	}
	return Receipt{}, failure
}

func (c *Client) alarm(ctx context.Context, n Notification, failure *rpc.Error, tries int) {
	c.Log.LogAttrs(ctx, slog.LevelError, "notification cannot be handed in, trying again",
		slog.String("message_id", n.About.GetMessageId()), slog.String("key", n.Key), slog.Int("tries", tries),
		slog.String("code", failure.CodeWord()), slog.String("reason", failure.Reason), slog.Any("error", failure))
}

// request is the call for a notification. RET, ENVID, ORCPT and the tag of the original are not passed on (D-02).
func (n Notification) request() *gatewayv1.SubmitRequest {
	return &gatewayv1.SubmitRequest{
		Envelope: &gatewayv1.Envelope{
			Sender: "",
			Recipients: []*gatewayv1.Recipient{{
				Address: n.Recipient,
				Notify:  []eventv1.Notify{eventv1.Notify_NOTIFY_NEVER},
			}},
			Tenant:         n.About.GetTenant(),
			Priority:       n.About.GetPriority(),
			IdempotencyKey: n.Key,
			RequireTls:     n.RequireTLS,
			ReportsOn:      n.About.GetMessageId(),
			ReportsOnLoop:  n.About.GetLoop(),
		},
		Content: n.Content,
	}
}

// verdict is what a failed call means.
type verdict int

const (
	// again is a call that may succeed later, also when an operator has to do something first.
	again verdict = iota
	// known is a notification that was accepted before.
	known
	// refused is a notification that will never be taken.
	refused
)

// judge tells what a failed call means. Only what says that this very message is at fault ends the trying; a wrong
// token, a wrong address or a fault of the gateway does not, since all notifications would be lost by it.
func judge(failure *rpc.Error) verdict {
	switch failure.Code {
	case codes.AlreadyExists:
		return known
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return refused
	default:
		return again
	}
}

// passing reports a failure that most often ends by itself, as while the gateway starts: nobody need be woken for it
// before it has lasted a while.
func passing(failure *rpc.Error) bool {
	switch failure.Code {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Aborted:
		return true
	default:
		return false
	}
}

// wait is the pause before the next try: at least what the gateway asked for, with up to a quarter added so that many
// do not come back at once.
func wait(pause, asked time.Duration) time.Duration {
	pause = max(pause, min(asked, maxAsked))
	return pause + rand.N(pause/4+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
