// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/destination"
	"github.com/postrider/postrider/services/sender/internal/hostmemory"
	"github.com/postrider/postrider/services/sender/internal/mxfailover"
	"github.com/postrider/postrider/services/sender/internal/pool"
	"github.com/postrider/postrider/services/sender/internal/retryschedule"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// Resolver finds the route of a domain. resolverv1.ResolverServiceClient is one.
type Resolver interface {
	ResolveRoute(ctx context.Context, in *resolverv1.ResolveRouteRequest, opts ...grpc.CallOption) (*resolverv1.ResolveRouteResponse, error)
}

// Options are what all attempts of a sender have in common.
type Options struct {
	// Hostname is node.name, the argument of EHLO (S-20); empty: an address literal.
	Hostname string
	// OwnName is the name no MX host may have (S-19): node.name when an SMTP listener of ours is on. Empty: off.
	OwnName string
	// Port is sender.smtp_port; 0 is 25.
	Port uint16
	// Timeouts is sender.timeouts, with sender.min_data_rate.
	Timeouts smtpclient.Timeouts
	// Retry is sender.retry.
	Retry retryschedule.Config
	// Destinations is sender.destinations.
	Destinations destination.List
	// SourceAddresses is sender.source_addresses; empty: the kernel's choice.
	SourceAddresses []netip.Addr
	// Resolver is asked for routes.
	Resolver Resolver
	// TLSRoots are trusted where a policy verifies names; nil: the system's.
	TLSRoots *x509.CertPool
	// Log takes alarms; nil: nobody is told.
	Log *slog.Logger
	// Tracer makes the spans; nil: none.
	Tracer trace.Tracer
	// Connections is told of every connection opened (+1) and closed (-1); nil: nobody is (O-03, O-04).
	Connections func(delta int)
	// Pool, Sessions and Memory are what attempts share (mxfailover.Walker); nil: nothing.
	Pool     *pool.Pool
	Sessions *pool.Sessions
	Memory   *hostmemory.Memory
	// Dial replaces TCP, for tests; nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Job is one record to attempt.
type Job struct {
	// Record is not changed.
	Record *eventv1.QueuedMail
	// Number is the number of this attempt, from 1.
	Number uint32
	// Body opens the content as it is sent, before dot-stuffing; it has Record.Content.Size octets. It is called at most
	// once, when a host is ready for it. An *os.File is sent without being copied. An error that is fs.ErrNotExist
	// leads to held, others to a deferral.
	Body func() (io.ReadSeekCloser, error)
	// MayStart is asked before each MAIL; nil: yes.
	MayStart func() bool
}

// Engine makes attempts. It is safe for concurrent use.
type Engine struct {
	o            Options
	destinations destination.Table
	walker       *mxfailover.Walker
	alarms       alarms
	refusals     refusals
}

// New checks the options.
func New(o Options) (*Engine, error) {
	if o.Resolver == nil {
		return nil, errors.New("attempt: a resolver is needed")
	}
	if err := errors.Join(o.Timeouts.Validate(), o.Retry.Validate(), o.Destinations.Validate()); err != nil {
		return nil, err
	}
	if err := checkCredentials(o.Destinations); err != nil {
		return nil, err
	}
	return &Engine{
		o: o, destinations: o.Destinations.Table(), alarms: alarms{log: o.Log}, refusals: refusals{log: o.Log},
		walker: &mxfailover.Walker{
			Hostname: o.Hostname, OwnName: o.OwnName, Port: o.Port, Sources: o.SourceAddresses, Timeouts: o.Timeouts,
			Roots: o.TLSRoots, Open: o.Connections, Tracer: o.Tracer, Dial: o.Dial,
			Pool: o.Pool, Sessions: o.Sessions, Memory: o.Memory,
		},
	}, nil
}
