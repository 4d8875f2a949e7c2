// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/destination"
	"github.com/postrider/postrider/services/sender/internal/mxfailover"
	"github.com/postrider/postrider/services/sender/internal/verdict"
)

// resolveTime bounds the wait for a route. The resolver's own limits are shorter, a policy fetch included.
const resolveTime = 2 * time.Minute

// run is one attempt.
type run struct {
	e       *Engine
	job     Job
	rec     *eventv1.QueuedMail
	began   time.Time
	route   *resolverv1.ResolveRouteResponse
	results []mxfailover.Recipient
	tries   []*eventv1.HostTry
	failure *smtpreply.Error // of the attempt as a whole
	bodyErr error
}

// Run makes an attempt. What goes wrong is in the outcome, which has a result for each recipient of the record. It holds
// at most one connection at a time.
//
// The end of ctx, or a no of MayStart, ends the attempt: recipients without an answer are deferred with reason shutdown
// and no pause. The outcome is nil when no recipient got one: nothing has happened and the record stands as it was.
// After a final dot the reply is awaited whatever ctx says, so that Run may outlive it by Timeouts.Dot.
//
// The outcome lacks what only the queue knows: source and returns_full_content.
func (e *Engine) Run(ctx context.Context, job Job) *eventv1.Outcome {
	r := &run{e: e, job: job, rec: job.Record, began: time.Now()}
	ctx, span := r.begin(ctx)
	r.attempt(ctx)
	if r.untouched() {
		span.abandon()
		return nil
	}
	outcome := r.outcome(ctx)
	span.end(ctx, r, outcome)
	return outcome
}

// attempt fills results.
func (r *run) attempt(ctx context.Context) {
	dest := r.e.destinations.For(r.rec.GetDestination(), "")
	if fail := r.tooLarge(dest); fail != nil {
		r.settleAll(fail)
		return
	}
	smarthost := dest.Smarthost
	auth, fail := credentials(smarthost)
	if fail != nil {
		r.settleAll(fail)
		r.e.alarms.raise(smarthost.Host, fail)
		return
	}
	route, fail := r.resolve(ctx, dest)
	if fail != nil {
		r.settleAll(fail)
		return
	}
	r.route = route
	dest = r.e.destinations.For(r.rec.GetDestination(), route.GetSite())
	walked := r.e.walker.Deliver(ctx, route, mxfailover.Mail{
		Message: message(r.rec, r.job.MayStart), OpenBody: r.job.Body, TLS: dest.TLS, Site: r.site(),
		Auth: auth, Smarthost: smarthost.Name(), TLSOptional: r.rec.GetEnvelope().GetTlsOptional(), Dialled: dialledBefore(r.rec),
	})
	r.results, r.tries, r.bodyErr = walked.Recipients, walked.Tries, walked.BodyErr
	for _, one := range r.results {
		r.e.alarms.raise(smarthost.Host, one.Failure)
	}
	r.e.refusals.note(r.site(), r.results)
}

// site is what connections are counted by: the lane the record waited in.
func (r *run) site() string {
	if domain := r.rec.GetDestination(); r.route.GetSite() == "" || r.e.destinations.For(domain, "").Apart() {
		return domain
	}
	return r.route.GetSite()
}

// tooLarge refuses a message over the configured size before any work on the network.
func (r *run) tooLarge(dest destination.Config) *smtpreply.Error {
	size, limit := r.rec.GetContent().GetSize(), dest.MaxSize.Bytes()
	if limit <= 0 || size <= uint64(limit) {
		return nil
	}
	fail := &smtpreply.Error{
		Stage: smtpreply.StageLocal, Reason: smtpreply.ReasonSize,
		Detail: fmt.Sprintf("the message has %d octets and the limit configured for this destination is %d", size, limit),
	}
	if dest.MaxSizeOf == destination.OfMailbox {
		fail.Reason = smtpreply.ReasonMailboxSize
	}
	return fail
}

// resolve asks for the route. A route without hosts has the reason with it.
func (r *run) resolve(ctx context.Context, dest destination.Config) (*resolverv1.ResolveRouteResponse, *smtpreply.Error) {
	ctx, span := r.child(ctx, "resolver.resolve_route")
	ctx, cancel := context.WithTimeoutCause(ctx, resolveTime, errResolveTime)
	defer cancel()
	route, err := r.e.o.Resolver.ResolveRoute(ctx, &resolverv1.ResolveRouteRequest{
		Domain: r.rec.GetDestination(), Smarthost: dest.Smarthost.Route(), IgnoreTlsPolicy: r.policyWaived(dest),
	})
	fail := routeFailure(ctx, route, err)
	endResolve(span, route, fail)
	return route, fail
}

// policyWaived reports that the policies of a host do not hold it back: the message waives them (S-42), or the operator's
// word for the destination is weaker.
func (r *run) policyWaived(dest destination.Config) bool {
	envelope := r.rec.GetEnvelope()
	return !envelope.GetRequireTls() && (envelope.GetTlsOptional() || weaker(dest))
}

func weaker(dest destination.Config) bool {
	return dest.TLS == destination.TLSOff || dest.TLS == destination.TLSOpportunistic
}

// errResolveTime is why a look-up was ended by this side.
var errResolveTime = errors.New("no answer from the resolver in time")

// routeFailure is why there is no route: a fault of the resolver is temporary, its verdict is what it says.
func routeFailure(ctx context.Context, route *resolverv1.ResolveRouteResponse, err error) *smtpreply.Error {
	fail := &smtpreply.Error{Stage: smtpreply.StageResolve, Err: err}
	switch {
	case err == nil && len(route.GetHosts()) > 0:
		return nil
	case err == nil && route.GetFailure() != nil:
		fail = smtpreply.FromProto(route.GetFailure())
		fail.Stage = smtpreply.StageResolve
	case err == nil:
		fail.Reason, fail.Detail = smtpreply.ReasonInternal, "the resolver gave a route without hosts"
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errResolveTime):
		fail.Reason, fail.Detail = smtpreply.ReasonShutdown, "given up because the sender stops"
	case status.Code(err) == codes.InvalidArgument:
		fail.Reason, fail.Detail = smtpreply.ReasonBadDomain, "the recipient domain is no domain name"
	default:
		fail.Reason, fail.Detail = smtpreply.ReasonResolverUnavailable, "the resolver does not answer"
	}
	return fail
}

// settleAll gives all recipients one failure of the attempt as a whole.
func (r *run) settleAll(fail *smtpreply.Error) {
	r.failure = fail
	for range r.rec.GetEnvelope().GetRecipients() {
		r.results = append(r.results, mxfailover.Recipient{Verdict: verdict.Of(fail, false), Failure: fail})
	}
}

// untouched reports that the attempt ended before any recipient had an answer.
func (r *run) untouched() bool {
	for _, one := range r.results {
		if one.Failure == nil || one.Failure.Reason != smtpreply.ReasonShutdown {
			return false
		}
	}
	return true
}

// lastAttempt is the attempt before this one, nil before the second.
func lastAttempt(rec *eventv1.QueuedMail) *eventv1.Attempt {
	if last := rec.GetHistory().GetLast(); len(last) > 0 {
		return last[len(last)-1]
	}
	if first := rec.GetHistory().GetFirst(); len(first) > 0 {
		return first[len(first)-1]
	}
	return nil
}

// dialledBefore are the addresses of the attempt before.
func dialledBefore(rec *eventv1.QueuedMail) map[netip.AddrPort]bool {
	hosts := lastAttempt(rec).GetHosts()
	if len(hosts) == 0 {
		return nil
	}
	dialled := make(map[netip.AddrPort]bool, len(hosts))
	for _, try := range hosts {
		if address, err := netip.ParseAddrPort(try.GetAddress()); err == nil {
			dialled[address] = true
		}
	}
	return dialled
}
