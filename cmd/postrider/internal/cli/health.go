// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
)

type healthCommand struct {
	client.Options
}

var errNotServing = silentError{"not serving"}

func (c *healthCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			return err
		}
		word := strings.ToLower(answer.GetStatus().String())
		if c.JSON {
			client.WriteJSON(streams.Out, map[string]string{"status": word})
		} else {
			fmt.Fprintln(streams.Out, word)
		}
		if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			return errNotServing
		}
		return nil
	})
}
