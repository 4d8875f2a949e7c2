// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
	"github.com/postrider/postrider/services/sender/internal/attempt"
	"github.com/postrider/postrider/services/sender/internal/mxfailover"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// run is one probe.
type run struct {
	req     *senderv1.ProbeRequest
	began   time.Time
	send    func(*senderv1.ProbeResponse) error
	sendErr error
	cancel  context.CancelFunc
}

// tell sends a step. When nobody listens any more, the probe ends.
func (r *run) tell(step *senderv1.ProbeResponse) {
	if r.sendErr != nil {
		return
	}
	step.Elapsed = durationpb.New(time.Since(r.began))
	if r.sendErr = r.send(step); r.sendErr != nil {
		r.cancel()
	}
}

// walk resolves and tries one address after the other.
func (r *run) walk(ctx context.Context, engine Engine) {
	w := engine.Ways(ctx, r.req.GetDomain())
	r.tellRoute(w)
	for i := range w.Ways {
		if ctx.Err() != nil {
			return
		}
		r.try(ctx, &w.Ways[i])
	}
	if w.Left > 0 {
		r.tell(&senderv1.ProbeResponse{
			Stage: eventv1.Stage_STAGE_RESOLVE,
			Text:  fmt.Sprintf("%d more addresses are not tried: an attempt would not reach them either", w.Left),
		})
	}
}

// tellRoute tells what the resolver said.
func (r *run) tellRoute(w attempt.Ways) {
	if s := w.Destination.Smarthost; s.Host != "" {
		r.tell(&senderv1.ProbeResponse{
			Stage: eventv1.Stage_STAGE_LOCAL, Text: "the configuration sends this domain through the smarthost " + s.Route(),
		})
	}
	for _, warning := range w.Route.GetWarnings() {
		r.tell(&senderv1.ProbeResponse{Stage: eventv1.Stage_STAGE_RESOLVE, Text: warning})
	}
	step := &senderv1.ProbeResponse{Stage: eventv1.Stage_STAGE_RESOLVE, Failure: w.Failure.Proto()}
	if w.Failure != nil {
		step.Stage, step.Text = w.Failure.Stage.Proto(), "there is no way: "+detail(w.Failure)
	} else {
		step.Text = routeText(w.Route)
	}
	r.tell(step)
}

// try opens a session with one address, or tells why that is not possible.
func (r *run) try(ctx context.Context, way *mxfailover.Way) {
	if way.Failure != nil {
		r.tell(&senderv1.ProbeResponse{
			Stage: way.Failure.Stage.Proto(), Host: way.Name, Failure: way.Failure.Proto(),
			Text: "the host is not tried: " + detail(way.Failure),
		})
		return
	}
	h := &host{run: r, way: way}
	h.tellPolicy()
	o := way.Options
	o.Observe = h.observe
	conn, fail := smtpclient.Dial(ctx, o)
	defer conn.Quit()
	if fail == nil && r.req.GetRcptTo() != "" {
		fail = conn.Ask(ctx, r.req.GetMailFrom(), r.req.GetRcptTo())
	}
	if ctx.Err() != nil {
		return
	}
	h.tellEnd(conn, fail)
}

// routeText is the route in words.
func routeText(route *resolverv1.ResolveRouteResponse) string {
	addresses := 0
	for _, h := range route.GetHosts() {
		addresses += len(h.GetAddresses())
	}
	text := fmt.Sprintf("%s has %s with %s", route.GetDomain(), count(len(route.GetHosts()), "mail host", "mail hosts"),
		count(addresses, "address", "addresses"))
	if route.GetImplicitMx() {
		text += ", by its own address records: there is no MX"
	}
	if age := route.GetCacheAge().AsDuration(); age >= time.Second {
		text += fmt.Sprintf(" (cached %s ago)", age.Round(time.Second))
	}
	return text
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// detail is a failure in words.
func detail(fail *smtpreply.Error) string {
	switch {
	case fail.Detail != "":
		return fail.Detail
	case fail.Reason != "":
		return string(fail.Reason)
	default:
		return "the host refuses"
	}
}
