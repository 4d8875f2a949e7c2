// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
)

// Env is what a service gets from its process.
type Env struct {
	// Name is the service's name, such as "gateway".
	Name string
	// Node, NATSConfig and Queue are the shared sections, validated.
	Node       config.Node
	NATSConfig config.NATS
	Queue      config.Queue
	// Log carries the service's name; lines written with a context get its trace id.
	Log *slog.Logger
	// NATS is the connection to the queue's server; nil when the process has none. It may not be established yet: it
	// connects, and connects again, by itself.
	NATS *nats.Conn
	// Dial returns a connection to another service at "host:port", with traces, metrics and TLS filled in. In a process
	// that holds several services it ignores the target and goes over memory. The caller closes it.
	Dial func(ctx context.Context, target string, opts rpc.ClientOptions) (*grpc.ClientConn, error)
	// Tracer and Meter are never nil. No OpenTelemetry globals are set.
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
	// Health takes how a part stands that the service depends on, such as "dns/192.0.2.53:53/tcp": trouble says in a
	// sentence why it does not work, "" that it works. The process stays ready. grpc.health.v1 knows the part as
	// "NAME/part"; /readyz and `postrider health` show it. Never nil; safe for concurrent use.
	Health func(part, trouble string)
	// Stopping is closed when the process begins to stop. Handlers of long-lived streams end themselves then, so that
	// the calls under way can end before the context of Run does.
	Stopping <-chan struct{}
}

// Service is one of the services of the suite.
type Service interface {
	// Register adds the gRPC services. It is called once, before Run.
	Register(grpc.ServiceRegistrar)
	// Run works until ctx ends, then drains and returns nil. It calls ready once, when the service can do its work.
	// Returning before ctx ends stops the process.
	Run(ctx context.Context, ready func()) error
}

// Rights is implemented by services whose methods need other rights than rpc.RightOperator.
type Rights interface {
	// Rights returns the right of each method by full name, "/package.Service/Method".
	Rights() map[string]rpc.Right
}

// Interfaces a service's configuration may implement, on the value or its pointer.
type (
	validator interface{ Validate() error }
	listener  interface{ ListenAddress() string }
	tokens    interface{ TokensFile() string }
	natsUser  interface{ UsesNATS() bool }
)

// Unit is a service of a process with its configuration.
type Unit struct {
	// Name is the service's name and its section in the file.
	Name string
	// PipeRights are the rights its calls to other services of the same process have. Nil means all.
	PipeRights []rpc.Right

	config any // pointer to the configuration
	build  func(context.Context, Env) (Service, error)
}

// NewUnit returns a unit. cfg is read when the process runs, so that it may be loaded after this call.
func NewUnit[C any](name string, cfg *C, build func(context.Context, C, Env) (Service, error)) Unit {
	return Unit{
		Name:   name,
		config: cfg,
		build:  func(ctx context.Context, env Env) (Service, error) { return build(ctx, *cfg, env) },
	}
}

// Section returns the unit's section of the file.
func (u Unit) Section() config.Section { return config.Section{Name: u.Name, Value: u.config} }

func (u Unit) validate() error {
	if v, ok := u.config.(validator); ok {
		return v.Validate()
	}
	return nil
}

func (u Unit) listenAddress() string {
	if l, ok := u.config.(listener); ok {
		return l.ListenAddress()
	}
	return ""
}

func (u Unit) tokensFile() string {
	if t, ok := u.config.(tokens); ok {
		return t.TokensFile()
	}
	return ""
}

func (u Unit) usesNATS() bool {
	n, ok := u.config.(natsUser)
	return ok && n.UsesNATS()
}
