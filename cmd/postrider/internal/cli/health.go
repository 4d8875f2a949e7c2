// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
)

type healthCommand struct {
	client.Options
}

// healthJSON is what `postrider health --json` prints.
type healthJSON struct {
	Status  string   `json:"status"`
	Failing []string `json:"failing"`
}

// failingParts are the parts a service depends on that do not work, such as a DNS server. Services themselves stand in
// the status of the whole.
func failingParts(r *grpc_health_v1.HealthListResponse) []string {
	all := []string{}
	for _, name := range slices.Sorted(maps.Keys(r.GetStatuses())) {
		if strings.Contains(name, "/") && r.GetStatuses()[name].GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			all = append(all, name)
		}
	}
	return all
}

var errNotServing = silentError{"not serving"}

func (c *healthCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		health := grpc_health_v1.NewHealthClient(conn)
		answer, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			return err
		}
		parts, _ := health.List(ctx, &grpc_health_v1.HealthListRequest{}) // a server that tells no parts may serve all the same
		out := healthJSON{Status: strings.ToLower(answer.GetStatus().String()), Failing: failingParts(parts)}
		if c.JSON {
			client.WriteJSON(streams.Out, out)
		} else {
			fmt.Fprintln(streams.Out, out.Status)
			for _, name := range out.Failing {
				fmt.Fprintf(streams.Out, "fails: %s\n", name)
			}
		}
		if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			return errNotServing
		}
		return nil
	})
}
