// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/changes"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/statusview"
)

const (
	// tries is how often storing a change is tried, each for up to 2 s.
	tries = 3
	// mirrorLimit bounds the wait for the gateway's own mirror, so that the next question shows the change.
	mirrorLimit = time.Second
)

// Store keeps changes (bus.Changes).
type Store interface {
	Add(ctx context.Context, change *eventv1.Change) (uint64, error)
	Remove(ctx context.Context, id string, partitions int) error
}

// Mirror is the changes there are (changes.Mirror).
type Mirror interface {
	CatchUp(ctx context.Context) error
	List() []changes.Entry
	Progress(id string, partition int) *eventv1.Change
	Standing(changes.Mail) changes.Standing
}

// View tells what waits (statusview.Keeper).
type View interface {
	Message(ctx context.Context, id string) (message *gatewayv1.Message, caller string, err error)
	Waiting(ctx context.Context) ([]statusview.Waiting, error)
}

// Options of a Desk. All are required.
type Options struct {
	Store      Store
	Mirror     Mirror
	View       View
	Partitions int
	Log        *slog.Logger
	Now        func() time.Time
}

// Desk takes changes. It is safe for concurrent use.
type Desk struct{ Options }

// New returns a desk.
func New(o Options) *Desk { return &Desk{o} }

// current makes sure that what was stored before the call is known here.
func (d *Desk) current(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, mirrorLimit)
	defer cancel()
	if err := d.Mirror.CatchUp(ctx); err != nil {
		return away(err)
	}
	return nil
}

func away(err error) error {
	return &rpc.Error{
		Code: codes.Unavailable, Reason: "QUEUE_UNAVAILABLE", Enhanced: smtpreply.Code(4, 3, 0),
		Message: "the queue cannot be reached now", RetryAfter: 2 * time.Second, Err: err,
	}
}

// add stores a change and returns its id.
func (d *Desk) add(ctx context.Context, c *eventv1.Change) (string, error) {
	c.Id, c.Actor, c.CreatedAt = ulid.Make().String(), rpc.CallerFrom(ctx).Name, timestamppb.New(d.Now())
	var errs []error
	for range tries {
		_, err := d.Store.Add(ctx, c) // the same change again finds a first try whose answer was lost
		if err == nil {
			d.Log.LogAttrs(ctx, slog.LevelInfo, "change of the queue", slog.String("change", c.GetId()),
				slog.String("action", c.GetAction().String()), slog.String("actor", c.GetActor()),
				slog.Int("messages", len(c.GetMessageIds())), slog.Int("destinations", len(c.GetDestinations())))
			_ = d.current(ctx) // it is durable; only the next answer of this gateway may not show it yet
			return c.GetId(), nil
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return "", away(errors.Join(errs...))
}

// inForce returns the change of an action that selects exactly the same, unless a later one of the other action touches
// any of it.
func (d *Desk) inForce(of selected, action, other eventv1.ChangeAction) *eventv1.Change {
	for _, e := range slices.Backward(d.Mirror.List()) {
		switch {
		case e.GetAction() == other && of.meets(e.Change):
			return nil
		case e.GetAction() == action && slices.Equal(e.GetMessageIds(), of.messages) && slices.Equal(e.GetDestinations(), of.destinations):
			return e.Change
		}
	}
	return nil
}

// toggle stores a change unless it is in force.
func (d *Desk) toggle(ctx context.Context, of selected, c *eventv1.Change, other eventv1.ChangeAction) (string, error) {
	if err := d.current(ctx); err != nil {
		return "", err
	}
	// One that was for what was there then is not for what is there now.
	if known := d.inForce(of, c.GetAction(), other); known != nil && known.GetAcceptedBefore() == nil {
		return known.GetId(), nil
	}
	c.MessageIds, c.Destinations = of.messages, of.destinations
	return d.add(ctx, c)
}

// Suspend keeps the mail of a domain until it is resumed.
func (d *Desk) Suspend(ctx context.Context, in *gatewayv1.SuspendDestinationRequest) (string, error) {
	domain, err := checkDomain(in.GetDomain())
	if err != nil {
		return "", err
	}
	if len(in.GetReason()) > maxReason {
		return "", invalid(ReasonText, "the reason is too long", rpc.Field{
			Field: "reason", Description: "must have at most 200 octets",
		})
	}
	return d.toggle(ctx, selected{destinations: []string{domain}}, &eventv1.Change{
		Action: eventv1.ChangeAction_CHANGE_ACTION_SUSPEND, Reason: in.GetReason(),
	}, eventv1.ChangeAction_CHANGE_ACTION_RESUME)
}

// Resume takes a suspension back.
func (d *Desk) Resume(ctx context.Context, in *gatewayv1.ResumeDestinationRequest) (string, error) {
	domain, err := checkDomain(in.GetDomain())
	if err != nil {
		return "", err
	}
	return d.toggle(ctx, selected{destinations: []string{domain}}, &eventv1.Change{
		Action: eventv1.ChangeAction_CHANGE_ACTION_RESUME,
	}, eventv1.ChangeAction_CHANGE_ACTION_SUSPEND)
}

// Hold sets messages aside: those named, or all that are there now for the destinations named.
func (d *Desk) Hold(ctx context.Context, in *gatewayv1.HoldMessagesRequest) (string, error) {
	of, err := d.selection(ctx, in.GetSelection())
	if err != nil {
		return "", err
	}
	c := &eventv1.Change{Action: eventv1.ChangeAction_CHANGE_ACTION_HOLD}
	if len(of.destinations) > 0 {
		c.AcceptedBefore = timestamppb.New(d.Now())
	}
	return d.toggle(ctx, of, c, eventv1.ChangeAction_CHANGE_ACTION_RELEASE)
}

// Release takes a hold back.
func (d *Desk) Release(ctx context.Context, in *gatewayv1.ReleaseMessagesRequest) (string, error) {
	of, err := d.selection(ctx, in.GetSelection())
	if err != nil {
		return "", err
	}
	return d.toggle(ctx, of, &eventv1.Change{
		Action: eventv1.ChangeAction_CHANGE_ACTION_RELEASE,
	}, eventv1.ChangeAction_CHANGE_ACTION_HOLD)
}

// RetryNow attempts waiting mail at once. While the same is still being carried out it is not begun again.
func (d *Desk) RetryNow(ctx context.Context, in *gatewayv1.RetryNowRequest) (string, error) {
	of, err := d.selection(ctx, in.GetSelection())
	if err != nil {
		return "", err
	}
	if err := d.current(ctx); err != nil {
		return "", err
	}
	action := eventv1.ChangeAction_CHANGE_ACTION_RETRY_NOW
	none := eventv1.ChangeAction_CHANGE_ACTION_UNSPECIFIED
	if known := d.inForce(of, action, none); known != nil && d.underWay(known) {
		return known.GetId(), nil
	}
	return d.add(ctx, &eventv1.Change{Action: action, MessageIds: of.messages, Destinations: of.destinations})
}

// underWay reports whether no partition has come to an end with a change. Where one has, mail may wait anew.
func (d *Desk) underWay(c *eventv1.Change) bool {
	for p := range d.Partitions {
		progress := d.Mirror.Progress(c.GetId(), p)
		if slices.ContainsFunc(progress.GetProgress(), func(s *eventv1.ScanProgress) bool { return s.GetDone() }) {
			return false
		}
	}
	return true
}

// selection checks a selection, and that the messages it names exist.
func (d *Desk) selection(ctx context.Context, in *gatewayv1.Selection) (selected, error) {
	of, err := checkSelection(in)
	if err != nil {
		return of, err
	}
	var faults []rpc.Field
	for i, id := range in.GetMessageIds() {
		_, _, err := d.View.Message(ctx, id)
		if known, ok := errors.AsType[*rpc.Error](err); ok && known.Code == codes.NotFound {
			faults = append(faults, rpc.Field{Field: fieldAt("selection.message_ids", i), Description: "no such message"})
			continue
		}
		if err != nil {
			return of, err
		}
	}
	if len(faults) > 0 {
		return of, &rpc.Error{
			Code: codes.NotFound, Reason: "MESSAGE_NOT_FOUND", Message: "a message of the selection does not exist",
			Fields: faults[:min(len(faults), maxFaults)],
		}
	}
	return of, nil
}
