// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/telemetry"
)

// DefaultStop is how long services may take to drain.
const DefaultStop = 30 * time.Second

// Process is one or several services and what they share.
type Process struct {
	// Name is service.name of traces and the name of the NATS connection.
	Name string
	// Shared are the shared sections.
	Shared Shared
	// Units are the services. With more than one they call each other over memory.
	Units []Unit
	// Listen is the gRPC address, "host:port"; empty takes the first unit's own.
	Listen string
	// TokensFile names the callers; empty takes the first unit's own.
	TokensFile string
	// Log takes all lines. Nil discards them.
	Log *slog.Logger
	// ConnectNATS replaces the connection to nats.url, for the embedded server. It returns what ends it, called last.
	ConnectNATS func(context.Context, config.NATS, *slog.Logger) (*nats.Conn, func(), error)
	// Telemetry changes the set-up of traces, for tests.
	Telemetry []telemetry.Option
	// Stop is how long services may take to drain. 0 is DefaultStop.
	Stop time.Duration
	// OnReady is called once, when all services are ready.
	OnReady func(Addresses)
}

// Addresses are where a process can be reached.
type Addresses struct {
	// GRPC is the address of the gRPC port.
	GRPC net.Addr
	// HTTP is the address of metrics and health; nil when they are off.
	HTTP net.Addr
	// Pipe is the way in from the same process; nil with a single service.
	Pipe *rpc.Pipe
}

// Validate checks all sections of the process and names every fault.
func (p *Process) Validate() error {
	var f config.Faults
	f.Join(p.Shared.Validate())
	for _, u := range p.Units {
		f.Join(u.validate())
		if u.usesNATS() && p.ConnectNATS == nil {
			f.Check(p.Shared.NATS.URL != "", "nats.url", "must be set: %s needs NATS and only the all-in-one has its own", u.Name)
		}
	}
	f.Check(len(p.Units) > 0, "", "a process needs a service")
	if address := p.listenAddress(); address == "" {
		f.Add("listen", "must be host:port")
	}
	return f.Err()
}

func (p *Process) listenAddress() string {
	if p.Listen != "" || len(p.Units) == 0 {
		return p.Listen
	}
	return p.Units[0].listenAddress()
}

func (p *Process) tokensFile() string {
	if p.TokensFile != "" || len(p.Units) == 0 {
		return p.TokensFile
	}
	return p.Units[0].tokensFile()
}

// Run runs the services until ctx ends and they have drained. Nil means that they did. It may be called several times
// in one program at once.
func Run(ctx context.Context, p Process) (err error) {
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	if p.Stop == 0 {
		p.Stop = DefaultStop
	}
	if err := p.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	r := &run{Process: p, stopping: make(chan struct{})}
	defer func() { err = errors.Join(err, r.close(context.WithoutCancel(ctx))) }()
	if err := r.open(ctx); err != nil {
		return err
	}
	return r.serve(ctx)
}

// run is a process while it runs.
type run struct {
	Process
	telemetry *telemetry.Telemetry
	nats      *nats.Conn
	server    *rpc.Server
	pipe      *rpc.Pipe
	listeners []net.Listener
	http      *httpServer
	services  []Service
	stopping  chan struct{}
	parts     parts
	closers   []func(context.Context) error
}

// onClose notes what has to be ended, the last first.
func (r *run) onClose(f func(context.Context) error) { r.closers = append(r.closers, f) }

func (r *run) close(ctx context.Context) error {
	var failed []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		failed = append(failed, r.closers[i](ctx))
	}
	return errors.Join(failed...)
}

// open builds everything in the order in which one part needs another.
func (r *run) open(ctx context.Context) error {
	var err error
	options := append([]telemetry.Option{telemetry.WithVersion(Version())}, r.Telemetry...)
	if r.telemetry, err = telemetry.Setup(ctx, r.Shared.Telemetry, r.Name, options...); err != nil {
		return err
	}
	r.onClose(func(ctx context.Context) error {
		if err := r.telemetry.Shutdown(ctx); err != nil { // spans that were lost are no reason to fail
			r.Log.LogAttrs(ctx, slog.LevelWarn, "telemetry not ended cleanly", slog.String("error", err.Error()))
		}
		return nil
	})
	if err := r.connect(ctx); err != nil {
		return err
	}
	if err := r.buildServer(); err != nil {
		return err
	}
	if err := r.listen(ctx); err != nil {
		return err
	}
	for _, u := range r.Units {
		if err := r.add(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// connect opens the NATS connection, where the process has one.
func (r *run) connect(ctx context.Context) error {
	if r.ConnectNATS != nil {
		conn, end, err := r.ConnectNATS(ctx, r.Shared.NATS, r.Log)
		if err != nil {
			return err
		}
		r.nats = conn
		r.onClose(func(context.Context) error { end(); return nil })
		return nil
	}
	if r.Shared.NATS.URL == "" {
		return nil
	}
	conn, err := ConnectNATS(r.Shared.NATS, r.Name, r.Log)
	if err != nil {
		return err
	}
	r.nats = conn
	r.onClose(func(context.Context) error { conn.Close(); return nil })
	return nil
}

// buildServer makes the gRPC server.
func (r *run) buildServer() error {
	options := rpc.ServerOptions{Log: r.Log, Tracer: r.telemetry.Tracer(), Meter: r.telemetry.Meter()}
	var err error
	if file := r.tokensFile(); file != "" {
		if options.Tokens, err = rpc.LoadTokens(file); err != nil {
			return err
		}
	}
	if err := r.checkListen(options.Tokens); err != nil {
		return err
	}
	if options.TLS, err = rpc.ServerTLS(r.Shared.Node.TLS); err != nil {
		return err
	}
	r.server = rpc.NewServer(options)
	return nil
}

// checkListen names the keys to set: a socket for others needs a tokens file.
func (r *run) checkListen(tokens *rpc.Tokens) error {
	err := rpc.CheckListen(r.listenAddress(), tokens)
	if err == nil || r.Listen != "" {
		return err
	}
	unit := r.Units[0].Name
	if tokens == nil {
		return fmt.Errorf("%s.listen (%s.tokens_file is not set): %w", unit, unit, err)
	}
	return fmt.Errorf("%s.listen: %w", unit, err)
}

// listen opens the sockets. The gRPC server closes its own.
func (r *run) listen(ctx context.Context) error {
	var lc net.ListenConfig
	socket, err := lc.Listen(ctx, "tcp", r.listenAddress())
	if err != nil {
		return fmt.Errorf("listen for gRPC: %w", err)
	}
	r.listeners = append(r.listeners, socket)
	r.onClose(func(context.Context) error { _ = socket.Close(); return nil })
	if len(r.Units) > 1 {
		r.pipe = rpc.NewPipe()
		r.listeners = append(r.listeners, r.pipe)
		r.onClose(func(context.Context) error { return r.pipe.Close() })
	}
	r.http, err = newHTTPServer(ctx, r.httpAddress(socket.Addr()), r.server, &r.parts, r.telemetry.MetricsHandler(), r.Shared.Telemetry.Profiles)
	if err != nil {
		return err
	}
	r.onClose(func(context.Context) error { r.http.close(); return nil })
	return nil
}

// add builds a unit's service and registers it.
func (r *run) add(ctx context.Context, u Unit) error {
	env := Env{
		Name: u.Name, Node: r.Shared.Node, NATSConfig: r.Shared.NATS, Queue: r.Shared.Queue,
		Log: r.Log.With(slog.String("service", u.Name)), NATS: r.nats, Dial: r.dialer(u),
		Tracer: r.telemetry.Tracer(), Meter: r.telemetry.Meter(), Stopping: r.stopping,
		Health: func(part, trouble string) { r.setPart(u.Name+"/"+part, trouble) },
	}
	service, err := u.build(ctx, env)
	if err != nil {
		return fmt.Errorf("start %s: %w", u.Name, err)
	}
	service.Register(r.server)
	if rights, ok := service.(Rights); ok {
		for method, right := range rights.Rights() {
			r.server.SetRight(method, right)
		}
	}
	r.services = append(r.services, service)
	return nil
}

// dialer returns Env.Dial for a unit.
func (r *run) dialer(u Unit) func(context.Context, string, rpc.ClientOptions) (*grpc.ClientConn, error) {
	rights := u.PipeRights
	if rights == nil {
		rights = rpc.AllRights()
	}
	return func(_ context.Context, target string, opts rpc.ClientOptions) (*grpc.ClientConn, error) {
		opts.Tracer, opts.Meter = r.telemetry.Tracer(), r.telemetry.Meter()
		if r.pipe != nil {
			opts.InMemory, opts.Token, opts.TokenFile = r.pipe, r.pipe.Issue(u.Name, rights...), ""
			return rpc.Dial("in-process", opts)
		}
		if target == "" {
			return nil, errors.New("dial: no address of the service is configured")
		}
		if opts.TLS == nil {
			var err error
			if opts.TLS, err = rpc.ClientTLS(r.Shared.Node.TLS); err != nil {
				return nil, err
			}
		}
		return rpc.Dial(target, opts)
	}
}
