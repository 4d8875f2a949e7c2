// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/dsn/internal/follow"
	"github.com/postrider/postrider/services/dsn/internal/notify"
	"github.com/postrider/postrider/services/dsn/internal/report"
	"github.com/postrider/postrider/services/dsn/internal/submit"
)

// service is the running service (runner.Service).
type service struct {
	config   Config
	env      runner.Env
	gateway  *grpc.ClientConn
	composer report.Composer
	notifier *notify.Notifier
	js       jetstream.JetStream
	owner    string
}

// New builds the service. It needs NATS and a gateway; neither has to be there yet.
func New(ctx context.Context, cfg Config, env runner.Env) (runner.Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if env.NATS == nil {
		return nil, errors.New("a NATS connection is needed")
	}
	s := &service{config: cfg, env: env, owner: owner(env)}
	s.composer = report.Composer{
		ReportingMTA: reportingMTA(ctx, env), From: cfg.From, MaxReturned: cfg.MaxReturnedSize.Bytes(),
	}
	var err error
	if s.js, err = jetstream.New(env.NATS); err != nil {
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	s.gateway, err = env.Dial(ctx, cfg.GatewayAddress, rpc.ClientOptions{TokenFile: cfg.TokenFile})
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	client := &submit.Client{
		Gateway: gatewayv1.NewMailServiceClient(s.gateway), Timeout: cfg.SubmitTimeout.Std(), Log: env.Log,
	}
	s.notifier, err = notify.New(notify.Options{
		Composer: s.composer, Submitter: client, Log: env.Log, Tracer: env.Tracer, Meter: env.Meter,
		Limits: cfg.Throttle.limits(), Postmaster: cfg.Postmaster,
	})
	if err != nil {
		_ = s.gateway.Close()
		return nil, err
	}
	client.Observer = s.notifier
	return s, nil
}

// owner names this process where leases are held. The embedded server has no other client, so that a restart may take
// its own lease over at once; elsewhere every process has a name of its own.
func owner(env runner.Env) string {
	if env.NATSConfig.Embedded() {
		return "dsn"
	}
	return "dsn-" + ulid.Make().String()
}

// reportingMTA is our name in notifications.
func reportingMTA(ctx context.Context, env runner.Env) string {
	name := env.Node.LocalName()
	if env.Node.Name == "" {
		env.Log.LogAttrs(ctx, slog.LevelWarn, "node.name is empty: header fields and notifications carry this machine's own name, "+
			"and EHLO an address literal; many hosts take neither", slog.String("name", name))
	}
	return name
}

// Register adds the gRPC service (runner.Service).
func (s *service) Register(r grpc.ServiceRegistrar) {
	dsnv1.RegisterDsnServiceServer(r, &previewer{composer: s.composer, notifier: s.notifier, js: s.js})
}

// Run follows the outcomes whenever no other process does (runner.Service).
func (s *service) Run(ctx context.Context, ready func()) error {
	defer s.gateway.Close()
	js := s.js
	if err := s.again(ctx, "streams", func(ctx context.Context) error { return bus.Ensure(ctx, js, s.layout()) }); err != nil {
		return ended(ctx, err)
	}
	var cursors *bus.Cursors
	var leases *bus.Leases
	err := s.again(ctx, "cursors and leases", func(ctx context.Context) (err error) {
		if cursors, err = bus.OpenCursors(ctx, js); err != nil {
			return err
		}
		leases, err = bus.OpenLeases(ctx, js, s.env.Queue.LeaseTTL.Std())
		return err
	})
	if err != nil {
		return ended(ctx, err)
	}
	ready()
	for ctx.Err() == nil {
		s.work(ctx, leases, follow.Options{
			JetStream: js, Cursors: cursors, Partitions: s.layout().Partitions, Concurrency: s.config.Concurrency,
			Idle: s.idle(), Since: s.config.Throttle.limits().Begin, Log: s.env.Log,
		})
	}
	return nil
}

// idle is how often is looked at what nothing tells of, such as the end of a window.
func (s *service) idle() time.Duration {
	return min(follow.DefaultIdle, max(s.config.Throttle.Window.Std()/4, 100*time.Millisecond))
}

// layout is what the streams have to look like.
func (s *service) layout() bus.Layout {
	return bus.Layout{
		Partitions:   s.env.Queue.PartitionCount(s.env.NATSConfig.Embedded()),
		Replicas:     s.env.NATSConfig.ReplicaCount(),
		MaxStore:     s.env.NATSConfig.MaxStore.Bytes(),
		OutcomeBytes: s.env.NATSConfig.OutcomeBytes.Bytes(),
	}
}

// again repeats what needs the store until it is done or ctx ends. Streams that differ from the configuration are no
// matter of time.
func (s *service) again(ctx context.Context, what string, do func(context.Context) error) error {
	for {
		tryCtx, cancel := context.WithTimeout(ctx, tryTimeout)
		err := do(tryCtx)
		cancel()
		if _, differs := errors.AsType[*bus.MismatchError](err); err == nil || differs {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.env.Log.LogAttrs(ctx, slog.LevelWarn, "the queue's store does not answer, trying again",
			slog.String("what", what), slog.Any("error", err))
		if err := sleep(ctx, tryPause); err != nil {
			return err
		}
	}
}

const (
	tryTimeout     = 30 * time.Second
	tryPause       = time.Second
	releaseTimeout = 2 * time.Second
)

// ended hides the end of ctx, which is what was asked for.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
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
