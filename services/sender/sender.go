// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
	"github.com/postrider/postrider/services/sender/internal/attempt"
	"github.com/postrider/postrider/services/sender/internal/destination"
	"github.com/postrider/postrider/services/sender/internal/dispatch"
	"github.com/postrider/postrider/services/sender/internal/hostmemory"
	"github.com/postrider/postrider/services/sender/internal/lanes"
	"github.com/postrider/postrider/services/sender/internal/pool"
	"github.com/postrider/postrider/services/sender/internal/probe"
	"github.com/postrider/postrider/services/sender/internal/site"
	"github.com/postrider/postrider/services/sender/internal/sitelimit"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

const (
	scope = "github.com/postrider/postrider/services/sender"

	// tryTimeout bounds one try to reach the queue's store at start, tryPause is the time between two.
	tryTimeout = 30 * time.Second
	tryPause   = time.Second

	// grace is how long attempts may go on when the sender stops; stopWithin bounds giving a partition up, and is less
	// than the runner allows. lateAttempts is how long attempts are waited for whose host does not answer the dot.
	grace        = 15 * time.Second
	stopWithin   = 24 * time.Second
	lateAttempts = 2 * time.Second
)

// service is the running service (runner.Service).
type service struct {
	config       Config
	env          runner.Env
	resolver     *grpc.ClientConn
	engine       *attempt.Engine
	destinations destination.Table
	lanes        *lanes.Lanes[*tenure.Record]
	senders      senders
	limiter      *sitelimit.Limiter
	pool         *pool.Pool
	events       *events
	space        space
}

// New builds the service. It needs NATS and a resolver; neither has to be there yet.
func New(ctx context.Context, cfg Config, env runner.Env) (runner.Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if env.NATS == nil {
		return nil, errors.New("a NATS connection is needed")
	}
	s := &service{config: cfg, env: env, destinations: cfg.Destinations.Table()}
	var memory hostmemory.Memory
	s.limiter = sitelimit.New(sitelimit.Options{Config: s.limits, Share: s.share, Fails: memory.Fails})
	s.pool = pool.New(s.limiter)
	s.lanes = lanes.New[*tenure.Record](lanes.Limits{PerSite: s.limiter.Attempts, Total: cfg.Attempts}, site.New(site.Known, s.apart))
	var err error
	if s.events, err = newEvents(env, s.lanes); err != nil {
		return nil, err
	}
	if s.resolver, err = env.Dial(ctx, cfg.ResolverAddress, rpc.ClientOptions{TokenFile: cfg.TokenFile}); err != nil {
		return nil, fmt.Errorf("resolver: %w", err)
	}
	s.engine, err = attempt.New(attempt.Options{
		Hostname: env.Node.Name, Port: cfg.SMTPPort, Timeouts: cfg.timeouts(), Retry: cfg.Retry,
		Destinations: cfg.Destinations, SourceAddresses: cfg.SourceAddresses, OwnName: ownName(cfg, env),
		Resolver:    learning{resolverv1.NewResolverServiceClient(s.resolver), s.lanes},
		Log:         env.Log,
		Tracer:      env.Tracer.Tracer(scope),
		Connections: s.events.connection,
		Pool:        s.pool, Sessions: &pool.Sessions{}, Memory: &memory,
	})
	if err != nil {
		_ = s.resolver.Close()
		return nil, err
	}
	return s, nil
}

// Register adds the gRPC service (runner.Service).
func (s *service) Register(r grpc.ServiceRegistrar) {
	senderv1.RegisterSenderServiceServer(r, &answers{lanes: s.lanes, pool: s.pool, limiter: s.limiter, prober: probe.New(s.engine)})
}

// Run delivers mail until ctx ends, and then gives its partitions up (runner.Service).
func (s *service) Run(ctx context.Context, ready func()) error {
	defer s.resolver.Close()
	js, err := jetstream.New(s.env.NATS)
	if err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	q := &queue{service: s, js: js}
	if err := s.again(ctx, q.open); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	attempts, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	dispatched := make(chan struct{})
	go func() {
		defer close(dispatched)
		s.dispatcher().Run(attempts)
	}()
	q.run(ctx, ready)
	giveUp()
	s.pool.Close()
	select {
	case <-dispatched:
	case <-time.After(lateAttempts):
		s.env.Log.Warn("attempts are left whose host has not answered the final dot", slog.Int("attempts", s.lanes.Running()))
	}
	return nil
}

func (s *service) dispatcher() *dispatch.Dispatcher {
	return &dispatch.Dispatcher{
		Lanes: s.lanes, Log: s.env.Log, Wait: s.space.wait,
		Attempt: func(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
			return s.engine.Run(ctx, attempt.Job{
				Record: r.Mail, Number: r.Mail.GetAttempt() + 1, Body: r.Open, MayStart: r.MayStart,
			})
		},
		ExpiresAt: func(m *eventv1.QueuedMail) time.Time {
			return s.config.Retry.ExpiresAt(m.GetAcceptedAt().AsTime(), m.GetEnvelope().GetSender() == "")
		},
	}
}

// learning is a resolver whose routes tell the lanes which site a domain belongs to.
type learning struct {
	attempt.Resolver
	lanes *lanes.Lanes[*tenure.Record]
}

// ResolveRoute asks for a route (attempt.Resolver).
func (l learning) ResolveRoute(ctx context.Context, in *resolverv1.ResolveRouteRequest, opts ...grpc.CallOption) (*resolverv1.ResolveRouteResponse, error) {
	route, err := l.Resolver.ResolveRoute(ctx, in, opts...)
	if err == nil {
		l.lanes.Learn(in.GetDomain(), route.GetSite())
	}
	return route, err
}

// again repeats what needs the queue's store until it is done or ctx ends. Streams that differ from the configuration
// are no matter of time.
func (s *service) again(ctx context.Context, do func(context.Context) error) error {
	for {
		tryCtx, cancel := context.WithTimeout(ctx, tryTimeout)
		err := do(tryCtx)
		cancel()
		if _, differs := errors.AsType[*bus.MismatchError](err); err == nil || differs || ctx.Err() != nil {
			return err
		}
		s.env.Log.LogAttrs(ctx, slog.LevelWarn, "the queue's store does not answer, it is tried again", slog.Any("error", err))
		select {
		case <-ctx.Done():
		case <-time.After(tryPause):
		}
	}
}
