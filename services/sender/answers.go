// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
	"github.com/postrider/postrider/services/sender/internal/lanes"
	"github.com/postrider/postrider/services/sender/internal/pool"
	"github.com/postrider/postrider/services/sender/internal/probe"
	"github.com/postrider/postrider/services/sender/internal/sitelimit"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

// maxLanes bounds an answer of ListLanes: the fullest.
const maxLanes = 1000

// answers is the gRPC service.
type answers struct {
	senderv1.UnimplementedSenderServiceServer

	lanes   *lanes.Lanes[*tenure.Record]
	pool    *pool.Pool
	limiter *sitelimit.Limiter
	prober  *probe.Prober
}

// Probe goes the way to a domain and sends each step as it happens.
func (a *answers) Probe(req *senderv1.ProbeRequest, stream grpc.ServerStreamingServer[senderv1.ProbeResponse]) error {
	return a.prober.Probe(stream.Context(), req, stream.Send)
}

// ListLanes returns the lanes this sender holds mail in.
func (a *answers) ListLanes(_ context.Context, req *senderv1.ListLanesRequest) (*senderv1.ListLanesResponse, error) {
	list := a.lanes.Snapshot(req.GetSite())
	resp := &senderv1.ListLanesResponse{}
	for _, l := range list[:min(len(list), maxLanes)] {
		lane := &senderv1.Lane{
			Site: l.Key.Site, Tenant: l.Key.Tenant, Priority: l.Key.Priority,
			Waiting: uint32(l.Waiting), Running: uint32(l.Running),
			Connections: uint32(a.pool.Open(l.Key.Site)), ConnectionLimit: uint32(a.limiter.Window(l.Key.Site)),
			Down: l.Down, LastFailure: l.LastFailure,
		}
		if l.Down {
			lane.NextProbe = durationpb.New(l.NextProbe)
		}
		resp.Lanes = append(resp.Lanes, lane)
	}
	return resp, nil
}
