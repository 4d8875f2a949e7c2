// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/cmd/postrider/internal/timeline"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

type cancelCommand struct {
	client.Options
	ID     []string `arg:"" help:"Message ids, as printed by send."`
	Notify bool     `help:"Send a failure notification to the envelope sender."`
}

// Run takes one message back after the other, and prints each as it stands then.
func (c *cancelCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		list := make([]timeline.Status, 0, len(c.ID))
		for _, id := range c.ID {
			answer, err := gatewayv1.NewMailServiceClient(conn).CancelMessage(ctx, &gatewayv1.CancelMessageRequest{
				MessageId: id, Notify: c.Notify,
			})
			if err != nil {
				return err
			}
			m := answer.GetMessage()
			list = append(list, timeline.StatusOf(m))
			if !c.JSON {
				fmt.Fprintf(streams.Out, "%s\t%s\n", m.GetMessageId(), tally(m.GetRecipients()))
			}
		}
		if c.JSON {
			client.WriteJSON(streams.Out, map[string]any{"messages": list})
		}
		return nil
	})
}
