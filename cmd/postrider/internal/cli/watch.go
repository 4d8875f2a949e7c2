// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/cmd/postrider/internal/timeline"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

type watchCommand struct {
	client.Options
	ID     string `arg:"" optional:"" help:"Only events of this message."`
	Cursor string `help:"Go on behind this cursor; without it from now on."`
}

// eventJSON is one line of watch --json.
type eventJSON struct {
	Cursor     string          `json:"cursor"`
	Time       time.Time       `json:"time"`
	MessageID  string          `json:"message_id"`
	Kind       string          `json:"kind"`
	Recipients []eventRcptJSON `json:"recipients"`
}

type eventRcptJSON struct {
	Address string `json:"address"`
	State   string `json:"state"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
}

func (c *watchCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		events, err := gatewayv1.NewMailServiceClient(conn).WatchEvents(ctx, &gatewayv1.WatchEventsRequest{Cursor: c.Cursor, MessageId: c.ID})
		if err != nil {
			return err
		}
		for {
			event, err := events.Recv()
			switch {
			case errors.Is(err, io.EOF) || ctx.Err() != nil:
				return nil
			case err != nil:
				return err
			case c.JSON:
				if err := json.NewEncoder(streams.Out).Encode(eventAsJSON(event)); err != nil {
					return err
				}
			default:
				writeEvent(streams.Out, event)
			}
		}
	})
}

func writeEvent(w io.Writer, e *gatewayv1.WatchEventsResponse) {
	fmt.Fprintf(w, "%s  %s  %s\n", e.GetTime().AsTime().Local().Format("15:04:05.000"), e.GetMessageId(), e.GetKind())
	for _, r := range e.GetRecipients() {
		fmt.Fprintf(w, "    %s  %s  %s  %s\n", r.GetAddress(), timeline.State(r.GetState()), r.GetStatus(), r.GetReason())
	}
}

func eventAsJSON(e *gatewayv1.WatchEventsResponse) eventJSON {
	out := eventJSON{
		Cursor: e.GetCursor(), Time: e.GetTime().AsTime(), MessageID: e.GetMessageId(), Kind: e.GetKind(),
		Recipients: []eventRcptJSON{},
	}
	for _, r := range e.GetRecipients() {
		out.Recipients = append(out.Recipients, eventRcptJSON{
			Address: r.GetAddress(), State: timeline.State(r.GetState()), Status: r.GetStatus(), Reason: r.GetReason(),
		})
	}
	return out
}
