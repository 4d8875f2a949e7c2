// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/netip"

	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/hostmemory"
	"github.com/postrider/postrider/services/sender/internal/pool"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/services/sender/internal/verdict"
)

// Limits of one attempt.
const (
	maxDialled = 10 // addresses
	maxGreeted = 5  // sessions that got a greeting
	maxPerHost = 4  // addresses of one host
)

// Walker is what is the same for all attempts of a sender. It is safe for concurrent use.
type Walker struct {
	// Hostname is the argument of EHLO; empty: an address literal.
	Hostname string
	// OwnName turns S-19 on for routes by MX: no host may answer EHLO with it. Empty: off.
	OwnName string
	// Port is dialled where the route names none; 0 is 25.
	Port uint16
	// Sources are the local addresses to connect from, one of each family at most is used; empty: the kernel's choice.
	Sources []netip.Addr
	// Timeouts are the limits of the steps.
	Timeouts smtpclient.Timeouts
	// Roots are trusted where a policy verifies names; nil: the system's.
	Roots *x509.CertPool
	// Open is told of every connection opened (+1) and closed (-1); nil: nobody is.
	Open func(delta int)
	// Tracer makes the spans; nil: none.
	Tracer trace.Tracer
	// Pool keeps sessions and says when one may be opened; nil: each message has a session of its own.
	Pool *pool.Pool
	// Sessions keeps TLS sessions for resumption; nil: none are kept.
	Sessions *pool.Sessions
	// Memory remembers addresses that did not work; nil: nothing is remembered.
	Memory *hostmemory.Memory
	// Dial replaces TCP; nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Mail is what one attempt delivers.
type Mail struct {
	// Message is the message; its Body is set when a host is ready.
	Message *smtpclient.Message
	// OpenBody opens the content. It is called at most once, and what it gives is closed.
	OpenBody func() (io.ReadSeekCloser, error)
	// TLS is the operator's word for the destination: off, opportunistic, require, verify; empty: the route's policy.
	TLS string
	// Auth is for the smarthost that the route leads to; nil: nobody authenticates.
	Auth *smtpclient.Auth
	// Smarthost is its name, or address, as it is configured; empty: the route is the domain's own.
	Smarthost string
	// TLSOptional says that policies are not enforced for this message (RFC 8689, section 4.2.2).
	TLSOptional bool
	// Site is what connections are counted by.
	Site string
	// Dialled are the addresses of the attempt before: within a host they are tried last.
	Dialled map[netip.AddrPort]bool
}

// Outcome is what an attempt came to.
type Outcome struct {
	// Recipients has an entry for each recipient of the message, in the same order.
	Recipients []Recipient
	// Tries are the addresses tried, and the hosts left without trying one, in order.
	Tries []*eventv1.HostTry
	// BodyErr is why the content could not be opened or sent; nil when that was not the fault.
	BodyErr error
}

// Recipient is the result of one recipient.
type Recipient struct {
	// Verdict is Delivered, Defer or Bounce.
	Verdict verdict.Verdict
	// Failure is why, nil when delivered. Its recorded status is of class 4 when deferred.
	Failure *smtpreply.Error
	// Reply is the reply that settled it, Host the host that gave it.
	Reply smtpreply.Reply
	Host  string
	// DSN says that the host was given the DSN parameters (D-06).
	DSN bool
	// AllRefused says that every host that answered at all refused the session with 5yz (S-15).
	AllRefused bool
}

// Deliver walks the hosts of route, which has at least one, in order. It blocks until every recipient has a verdict: ctx
// ends the walk, and a session that is past the final dot is awaited all the same.
func (w *Walker) Deliver(ctx context.Context, route *resolverv1.ResolveRouteResponse, m Mail) Outcome {
	a := newAttempt(w, route, m)
	defer a.closeBody()
	for next := a.next(-1); next >= 0; {
		next = a.try(ctx, next)
	}
	a.finish()
	return a.outcome
}
