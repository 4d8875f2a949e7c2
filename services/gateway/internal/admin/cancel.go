// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/changes"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const (
	// settleLimit is how long a cancel waits for the outcome, lookEvery how often it looks.
	settleLimit = 2 * time.Second
	lookEvery   = 50 * time.Millisecond
)

// Cancel takes a message back. The answer says cancelled only where an outcome says so, else cancelling: what is being
// attempted may still be delivered. Who is no operator may cancel its own messages only.
func (d *Desk) Cancel(ctx context.Context, in *gatewayv1.CancelMessageRequest) (*gatewayv1.Message, error) {
	m, submitter, err := d.View.Message(ctx, in.GetMessageId())
	if err != nil {
		return nil, err
	}
	if err := mayCancel(ctx, submitter); err != nil {
		return nil, err
	}
	if m.GetState() == gatewayv1.MessageState_MESSAGE_STATE_DONE {
		return m, nil
	}
	if err := d.current(ctx); err != nil {
		return nil, err
	}
	known := d.Mirror.Standing(changes.Mail{MessageID: m.GetMessageId()}).Cancelled
	if known == nil || in.GetNotify() && !known.GetNotify() {
		_, err := d.add(ctx, &eventv1.Change{
			Action: eventv1.ChangeAction_CHANGE_ACTION_CANCEL, MessageIds: []string{m.GetMessageId()}, Notify: in.GetNotify(),
		})
		if err != nil {
			return nil, err
		}
	}
	return d.cancelled(ctx, m)
}

// mayCancel refuses a caller whose message it is not, as if there were none.
func mayCancel(ctx context.Context, submitter string) error {
	caller := rpc.CallerFrom(ctx)
	switch {
	case caller.Has(rpc.RightOperator) || submitter != "" && submitter == caller.Name:
		return nil
	case submitter == "": // the view does not know the message yet
		return &rpc.Error{
			Code: codes.Unavailable, Reason: "VIEW_UNAVAILABLE", Message: "it is not known yet whose message it is",
			RetryAfter: time.Second,
		}
	}
	return &rpc.Error{Code: codes.NotFound, Reason: "MESSAGE_NOT_FOUND", Message: "no such message"}
}

// cancelled waits a moment for the outcome, and returns the message as it stands then.
func (d *Desk) cancelled(ctx context.Context, m *gatewayv1.Message) (*gatewayv1.Message, error) {
	limit := time.NewTimer(settleLimit)
	defer limit.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		now, _, err := d.View.Message(ctx, m.GetMessageId())
		if err != nil {
			return nil, err
		}
		if now.GetState() == gatewayv1.MessageState_MESSAGE_STATE_DONE {
			return now, nil
		}
		select {
		case <-look.C:
		case <-limit.C:
			return now, nil
		case <-ctx.Done():
			return now, nil
		}
	}
}
