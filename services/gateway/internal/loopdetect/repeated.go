// SPDX-License-Identifier: Apache-2.0

package loopdetect

import (
	"context"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect/fingerprint"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect/recurrence"
)

// Limits are those of equal messages within an hour (L-07).
type Limits struct {
	// Responses is how many equal responses are no loop; one more is refused.
	Responses int
	// Report is the number from which on equal ordinary messages are told to the operator. They are taken all the same.
	Report int
	// Hold says that those are held.
	Hold bool
}

// Repeats judges equal messages (L-06, L-07). It is safe for concurrent use.
type Repeats struct {
	maker   *fingerprint.Maker
	counter *recurrence.Counter
	limits  Limits
}

// NewRepeats returns the rule under the key of the trace headers, so that gateways that share it make equal prints.
func NewRepeats(key Key, counter *recurrence.Counter, limits Limits) *Repeats {
	return &Repeats{maker: fingerprint.NewMaker(key), counter: counter, limits: limits}
}

// Exempt is the decision about a notification of our own: what stops its loops is the inherited hop number, and that a
// null sender gets no notification (L-07).
func Exempt() Decision {
	return Decision{Rule: eventv1.LoopRule_LOOP_RULE_RESPONSES, Result: eventv1.LoopResult_LOOP_RESULT_EXEMPT}
}

// Judged is what became of one message.
type Judged struct {
	Decision Decision
	// Unshared is why only this gateway's own count decided; nil when it was all gateways', or need not be (L-10).
	Unshared error
	// Undo takes the message out of the count, since it was not taken after all. Nil when there is nothing to undo.
	Undo func(context.Context)
	// Tell says that an operator is to be told of an ordinary message: once for each so many as Limits.Report.
	Tell bool
}

// Judge counts a message and decides. Only for a response is the shared store asked.
func (r *Repeats) Judge(ctx context.Context, m *fingerprint.Message, messageID string) Judged {
	print := r.maker.Of(m)
	if !m.Response() {
		times, tell := r.counter.Ordinary(print, r.limits.Report)
		d := held(eventv1.LoopRule_LOOP_RULE_ORDINARY, times, r.limits.Report-1, "")
		if d.Value > d.Limit {
			d.Result = eventv1.LoopResult_LOOP_RESULT_REPORTED
			if r.limits.Hold {
				d.Result = eventv1.LoopResult_LOOP_RESULT_HELD
			}
		}
		return Judged{Decision: d, Tell: tell}
	}
	count := r.counter.Response(ctx, print, messageID)
	d := held(eventv1.LoopRule_LOOP_RULE_RESPONSES, count.Times, r.limits.Responses, smtpreply.ReasonFingerprint)
	if count.Unshared != nil && !d.Loop() {
		d.Result = eventv1.LoopResult_LOOP_RESULT_UNSHARED
	}
	return Judged{Decision: d, Unshared: count.Unshared, Undo: func(ctx context.Context) { r.counter.Forget(ctx, print, messageID) }}
}
