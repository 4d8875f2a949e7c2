// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"errors"
	"os"

	"github.com/postrider/postrider/kit/smtpreply"
)

// fail makes the failure of a step that ended without a reply, and gives the session up.
func (c *Conn) fail(stage smtpreply.Stage, cause error) *smtpreply.Error {
	c.state = stateBroken
	e := &smtpreply.Error{Stage: stage, Err: cause}
	var protocol *protocolError
	switch {
	case errors.Is(cause, context.Canceled), errors.Is(cause, context.DeadlineExceeded):
		e.Reason, e.Detail = smtpreply.ReasonShutdown, "given up because the sender stops"
	case errors.As(cause, &protocol):
		e.Reason, e.Detail = smtpreply.ReasonProtocol, protocol.detail
	case errors.Is(cause, errNoProgress):
		e.Reason, e.Detail = smtpreply.ReasonTimeout, "the host took nothing of the data for "+c.o.Timeouts.DataProgress.String()
	case errors.Is(cause, errTimeout), errors.Is(cause, os.ErrDeadlineExceeded):
		e.Reason, e.Detail = smtpreply.ReasonTimeout, "no complete reply in time"
	default:
		e.Reason, e.Detail = smtpreply.ReasonConnectionLost, "the host closed or reset the connection"
	}
	if stage == smtpreply.StageGreeting && e.Reason == smtpreply.ReasonTimeout {
		e.Reason, e.Detail = smtpreply.ReasonNoGreeting, "the host accepted the connection and sent no greeting in time"
	}
	c.log.note(e.Detail)
	return e
}

// ambiguous turns the loss of the reply to the final dot into what it means (S-47): the host may have taken the message.
func ambiguous(e *smtpreply.Error) *smtpreply.Error {
	if e.Reason == smtpreply.ReasonProtocol {
		e.Status = smtpreply.Code(4, 5, 0)
	}
	e.Stage = smtpreply.StageDot
	e.Reason = smtpreply.ReasonAmbiguous
	e.Detail = "the message was sent and not answered: it may have been delivered"
	return e
}
