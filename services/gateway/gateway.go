// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/admin"
	"github.com/postrider/postrider/services/gateway/internal/bodysweep"
	"github.com/postrider/postrider/services/gateway/internal/enqueue"
	"github.com/postrider/postrider/services/gateway/internal/events"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect"
	"github.com/postrider/postrider/services/gateway/internal/mailservice"
	"github.com/postrider/postrider/services/gateway/internal/submit"
)

// closeLimit is how long the last segments may take to be stored when the gateway stops. It is longer than the appender
// repeats a publish, so that every caller gets its answer.
const closeLimit = 20 * time.Second

// Gateway is the service. New makes it.
type Gateway struct {
	cfg    Config
	env    runner.Env
	node   string
	key    *loopdetect.Key // of gateway.trace_key_file; nil: shared through the queue
	meters *meters
	parts  atomic.Pointer[mailservice.Parts]
	desk   atomic.Pointer[admin.Desk]
}

// New returns the gateway. Nothing is read from the queue before Run; until then, and while it cannot be reached, calls
// are answered UNAVAILABLE.
func New(_ context.Context, cfg Config, env runner.Env) (runner.Service, error) {
	if env.NATS == nil {
		return nil, errors.New("the gateway needs a connection to the queue's server")
	}
	g := &Gateway{cfg: cfg, env: env, node: env.Node.LocalName()}
	if cfg.TraceKeyFile != "" {
		key, err := loopdetect.ReadKeyFile(cfg.TraceKeyFile)
		if err != nil {
			return nil, err
		}
		g.key = &key
	}
	var err error
	if g.meters, err = newMeters(env.Meter.Meter(scope)); err != nil {
		return nil, err
	}
	return g, nil
}

// scope names our tracer and meter.
const scope = "github.com/postrider/postrider/services/gateway"

// Register adds the gRPC services (runner.Service).
func (g *Gateway) Register(r grpc.ServiceRegistrar) {
	gatewayv1.RegisterMailServiceServer(r, mailservice.New(g.current, g.env.Stopping, g.env.Log))
	gatewayv1.RegisterQueueServiceServer(r, admin.NewService(g.operators))
}

// Rights returns the rights of the methods; those it does not name need operator (runner.Rights).
func (g *Gateway) Rights() map[string]rpc.Right { return mailservice.Rights() }

// current returns what a call works with.
func (g *Gateway) current() (*mailservice.Parts, error) { return found(&g.parts) }

// operators returns what an operator's call works with.
func (g *Gateway) operators() (*admin.Desk, error) { return found(&g.desk) }

func found[T any](there *atomic.Pointer[T]) (*T, error) {
	if p := there.Load(); p != nil {
		return p, nil
	}
	return nil, enqueue.Away(errors.New("the queue has not been found yet"))
}

// Run finds the queue, then takes mail until ctx ends (runner.Service).
func (g *Gateway) Run(ctx context.Context, ready func()) error {
	q, err := g.openQueue(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	var background sync.WaitGroup
	defer background.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var begun sync.WaitGroup
	begun.Add(2)
	background.Go(func() { q.view.Run(ctx, begun.Done) })
	background.Go(func() { q.gauge.Run(ctx, begun.Done) })
	background.Go(func() { bodysweep.New(q.view, q.bodies, g.env.Log, time.Now).Run(ctx) })
	background.Go(func() {
		q.mirror.Run(ctx, func(err error) {
			g.env.Log.LogAttrs(ctx, slog.LevelWarn, "operators' changes are not read, it is tried again", slog.String("error", err.Error()))
		})
	})
	desk := admin.New(admin.Options{
		Store: q.changes, Mirror: q.mirror, View: q.view, Partitions: q.partitions(), Log: g.env.Log, Now: time.Now,
	})
	background.Go(func() { desk.Run(ctx) })
	background.Go(func() { q.counter.Run(ctx, g.env.Log) })
	begun.Wait() // both are bounded in time, and neither need have succeeded
	submitter := submit.New(q.submitOptions())
	smtpEnded := g.startSMTP(ctx, submitter)
	g.parts.Store(&mailservice.Parts{
		Submitter: submitter, View: q.view, Refusals: q.refusals, Watcher: events.New(q.js, q.mirror), Canceller: desk,
		MaxSize: g.cfg.MaxMessageSize.Bytes(),
	})
	g.desk.Store(desk)
	ready()
	smtpErr := <-smtpEnded // before the appender ends: its sessions have messages to append
	if smtpErr == nil {
		<-ctx.Done()
	}
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	return errors.Join(smtpErr, q.appender.Close(closeCtx))
}
