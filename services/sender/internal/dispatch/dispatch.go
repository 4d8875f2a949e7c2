// SPDX-License-Identifier: Apache-2.0

// Package dispatch owns the attempts that run: it takes what the lanes hand out, runs each attempt in a goroutine of its
// own, and gives the outcome back to the tenure the record belongs to. The lanes bound how many there are.
package dispatch

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/lanes"
	"github.com/postrider/postrider/services/sender/internal/settle"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

// faultPause is how long a record waits whose attempt ended in a fault of ours.
const faultPause = 10 * time.Minute

// Dispatcher runs attempts.
type Dispatcher struct {
	Lanes *lanes.Lanes[*tenure.Record]
	// Wait holds further attempts back; it returns when there may be one. The only error is that of ctx.
	Wait func(ctx context.Context) error
	// Attempt attempts a record. It returns nil when there is nothing to settle and the record stands as it was. When
	// ctx ends it comes to an end as soon as it can without doubt about what the remote host did.
	Attempt func(ctx context.Context, r *tenure.Record) *eventv1.Outcome
	// ExpiresAt is when a message is given up.
	ExpiresAt func(*eventv1.QueuedMail) time.Time
	Log       *slog.Logger
}

// Run attempts what the lanes hand out until ctx ends, and then waits for the attempts that run. Their tenures end them.
func (d *Dispatcher) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		if d.Wait(ctx) != nil {
			return
		}
		turn, err := d.Lanes.Take(ctx)
		if err != nil {
			return
		}
		if !turn.Value.Begin() {
			turn.Done()
			continue
		}
		running.Go(func() {
			o := d.attempt(turn.Value)
			if failure, tried := Reached(o); tried {
				d.Lanes.Report(turn.Value.Mail.GetDestination(), failure)
			}
			turn.Done()
			turn.Value.End(o)
		})
	}
}

// attempt makes one attempt. A fault in it must not take the process down, and the queue with it: the record is deferred,
// as one that may have been delivered.
func (d *Dispatcher) attempt(r *tenure.Record) (o *eventv1.Outcome) {
	defer func() {
		if fault := recover(); fault != nil {
			d.Log.Error("fault in an attempt", slog.String("message_id", r.Mail.GetMessageId()),
				slog.Any("fault", fault), slog.String("stack", string(debug.Stack())))
			o = settle.Faulted(r.Mail, r.Place, faultPause, d.ExpiresAt(r.Mail), time.Now())
		}
	}()
	return d.Attempt(r.Context(), r)
}

// Reached returns what an attempt tells of its site: nil when a host greeted us, else why the last one did not. tried is
// false when no host was reached for; an address for which this machine has no route says nothing of the site.
func Reached(o *eventv1.Outcome) (failure *eventv1.Failure, tried bool) {
	for _, try := range o.GetAttempt().GetHosts() {
		f := try.GetFailure()
		switch {
		case f == nil || f.GetStage() > eventv1.Stage_STAGE_GREETING:
			return nil, true
		case f.GetStage() < eventv1.Stage_STAGE_CONNECT, f.GetReason() == string(smtpreply.ReasonNoLocalRoute),
			f.GetReason() == string(smtpreply.ReasonShutdown):
		default:
			failure, tried = f, true
		}
	}
	return failure, tried
}
