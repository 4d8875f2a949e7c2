// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/idempotency"
)

// reopenPause is how long the keeper waits before it opens a view that failed again.
const reopenPause = time.Second

// Keeper keeps a view open: whatever happens to it, acceptance goes on, and the view is opened or folded anew. While
// there is none, questions are answered UNAVAILABLE. It is safe for concurrent use.
type Keeper struct {
	o    Options
	view atomic.Pointer[View]
}

// NewKeeper returns a keeper. meter gets the lag of the view, and how far back it knows keys.
func NewKeeper(o Options, meter metric.Meter) (*Keeper, error) {
	k := &Keeper{o: o}
	gauge, err := meter.Float64ObservableGauge("postrider.gateway.view_lag", metric.WithUnit("s"),
		metric.WithDescription("How far the status view is behind the queue; nothing while it is folded for the first time."))
	if err != nil {
		return nil, err
	}
	reach, err := meter.Float64ObservableGauge("postrider.gateway.key_reach", metric.WithUnit("s"),
		metric.WithDescription("How far back used idempotency keys are known: 24 hours, or less after the status view was folded anew."))
	if err != nil {
		return nil, err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, observer metric.Observer) error {
		if v := k.view.Load(); v != nil {
			if behind, ok := v.Lag(); ok {
				observer.ObserveFloat64(gauge, behind.Seconds())
			}
			observer.ObserveFloat64(reach, v.Reach().Seconds())
		}
		return nil
	}, gauge, reach)
	return k, err
}

// Run keeps the view until ctx ends. opened is called once, when the view was opened for the first time or could not be.
func (k *Keeper) Run(ctx context.Context, opened func()) {
	opened = sync.OnceFunc(opened)
	defer opened()
	rebuild := k.o.Rebuild
	for ctx.Err() == nil {
		o := k.o
		o.Rebuild = rebuild
		err := k.once(ctx, o, opened)
		opened()
		if err == nil || ctx.Err() != nil {
			return
		}
		_, ahead := errors.AsType[*bus.AheadError](err)
		rebuild = ahead || damaged(err) || errors.Is(err, errRow)
		k.o.Log.LogAttrs(ctx, slog.LevelError, "status view failed, opening it again",
			slog.Bool("folded_anew", rebuild), slog.String("error", err.Error()))
		if pause(ctx, reopenPause) != nil {
			return
		}
	}
}

// once opens a view and folds until it fails or ctx ends.
func (k *Keeper) once(ctx context.Context, o Options, opened func()) error {
	v, err := Open(ctx, o)
	if err != nil {
		return err
	}
	defer v.Close()
	k.view.Store(v)
	defer k.view.Store(nil)
	opened()
	return v.Run(ctx)
}

// current returns the view there is.
func (k *Keeper) current() (*View, error) {
	if v := k.view.Load(); v != nil {
		return v, nil
	}
	return nil, &rpc.Error{
		Code: codes.Unavailable, Reason: reasonViewAway, Message: "the status view cannot be read now", RetryAfter: reopenPause,
	}
}

// Message is View.Message.
func (k *Keeper) Message(ctx context.Context, id string) (*gatewayv1.Message, string, error) {
	v, err := k.current()
	if err != nil {
		return nil, "", err
	}
	return v.Message(ctx, id)
}

// Explain is View.Explain.
func (k *Keeper) Explain(ctx context.Context, id string) (*gatewayv1.Message, *eventv1.LoopTrace, string, error) {
	v, err := k.current()
	if err != nil {
		return nil, nil, "", err
	}
	return v.Explain(ctx, id)
}

// List is View.List.
func (k *Keeper) List(ctx context.Context, in *gatewayv1.ListMessagesRequest) (*gatewayv1.ListMessagesResponse, error) {
	v, err := k.current()
	if err != nil {
		return nil, err
	}
	return v.List(ctx, in)
}

// Waiting is View.Waiting.
func (k *Keeper) Waiting(ctx context.Context) ([]Waiting, error) {
	v, err := k.current()
	if err != nil {
		return nil, err
	}
	return v.Waiting(ctx)
}

// Current is View.Current (idempotency.Memory).
func (k *Keeper) Current() error {
	v, err := k.current()
	if err != nil {
		return err
	}
	return v.Current()
}

// FindKey is View.FindKey (idempotency.Memory).
func (k *Keeper) FindKey(ctx context.Context, hash []byte, since time.Time) (idempotency.Earlier, bool, error) {
	v, err := k.current()
	if err != nil {
		return idempotency.Earlier{}, false, err
	}
	return v.FindKey(ctx, hash, since)
}

// FinishedBodies is View.FinishedBodies (bodysweep.View).
func (k *Keeper) FinishedBodies(ctx context.Context, before time.Time, most int) (map[string]string, error) {
	v, err := k.current()
	if err != nil {
		return nil, err
	}
	return v.FinishedBodies(ctx, before, most)
}

// ForgetBodies is View.ForgetBodies (bodysweep.View).
func (k *Keeper) ForgetBodies(ctx context.Context, ids []string) error {
	v, err := k.current()
	if err != nil {
		return err
	}
	return v.ForgetBodies(ctx, ids)
}

// Knows is View.Knows (bodysweep.View).
func (k *Keeper) Knows(ctx context.Context, id string) (bool, error) {
	v, err := k.current()
	if err != nil {
		return false, err
	}
	return v.Knows(ctx, id)
}
