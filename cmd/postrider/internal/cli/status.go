// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/cmd/postrider/internal/timeline"
	"github.com/postrider/postrider/cmd/postrider/internal/tree"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

type statusCommand struct {
	client.Options
	ID string `arg:"" help:"Message id, as printed by send."`
}

func (c *statusCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		answer, err := gatewayv1.NewMailServiceClient(conn).GetMessage(ctx, &gatewayv1.GetMessageRequest{MessageId: c.ID})
		if err != nil {
			return err
		}
		if c.JSON {
			client.WriteJSON(streams.Out, timeline.StatusOf(answer.GetMessage()))
			return nil
		}
		return tree.Write(streams.Out, timeline.Tree(answer.GetMessage()))
	})
}
