// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
)

type queueCommands struct {
	List    destinationsCommand `cmd:"" help:"Show the destinations mail waits for, the fullest first, and those that are suspended."`
	Lanes   lanesCommand        `cmd:"" help:"Show the lanes a sender holds mail in."`
	Suspend suspendCommand      `cmd:"" help:"Keep all mail to a destination until it is resumed."`
	Resume  resumeCommand       `cmd:"" help:"Take a suspension back."`
	Retry   retryCommand        `cmd:"" help:"Attempt waiting mail at once."`
	Hold    holdCommand         `cmd:"" help:"Set messages aside: those named, or all that wait now for a domain."`
	Release releaseCommand      `cmd:"" help:"Take a hold back."`
}

type lanesCommand struct {
	client.Options
	Site string `help:"Only lanes of this destination or site."`
}

// laneJSON is one lane of queue lanes --json.
type laneJSON struct {
	Site            string `json:"site"`
	Tenant          string `json:"tenant"`
	Priority        string `json:"priority"`
	Waiting         uint32 `json:"waiting"`
	Running         uint32 `json:"running"`
	Connections     uint32 `json:"connections"`
	ConnectionLimit uint32 `json:"connection_limit"`
	Down            bool   `json:"down"`
}

func (c *lanesCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		answer, err := senderv1.NewSenderServiceClient(conn).ListLanes(ctx, &senderv1.ListLanesRequest{Site: c.Site})
		if err != nil {
			return err
		}
		lanes := make([]laneJSON, 0, len(answer.GetLanes()))
		for _, l := range answer.GetLanes() {
			lanes = append(lanes, laneJSON{
				Site: l.GetSite(), Tenant: l.GetTenant(), Waiting: l.GetWaiting(), Running: l.GetRunning(),
				Priority:    strings.ToLower(strings.TrimPrefix(l.GetPriority().String(), "PRIORITY_")),
				Connections: l.GetConnections(), ConnectionLimit: l.GetConnectionLimit(), Down: l.GetDown(),
			})
		}
		if c.JSON {
			client.WriteJSON(streams.Out, map[string]any{"lanes": lanes})
			return nil
		}
		table := tabwriter.NewWriter(streams.Out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(table, "SITE\tTENANT\tPRIORITY\tWAITING\tRUNNING\tCONNECTIONS")
		for _, l := range lanes {
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d of %d\n", l.Site, l.Tenant, l.Priority, l.Waiting, l.Running, l.Connections, l.ConnectionLimit)
		}
		return table.Flush()
	})
}
