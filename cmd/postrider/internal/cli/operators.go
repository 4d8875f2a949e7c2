// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

type destinationsCommand struct {
	client.Options
	Limit int `default:"50" help:"Most destinations; 0 is all."`
}

// destinationJSON is one destination of queue list --json.
type destinationJSON struct {
	Domain      string     `json:"domain"`
	Waiting     uint64     `json:"waiting"`
	OldestSecs  float64    `json:"oldest_seconds"`
	SuspendedAt *time.Time `json:"suspended_at"`
	SuspendedBy string     `json:"suspended_by"`
}

func (c *destinationsCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		list, err := c.collect(ctx, gatewayv1.NewQueueServiceClient(conn))
		if err != nil {
			return err
		}
		if c.JSON {
			client.WriteJSON(streams.Out, map[string]any{"destinations": list})
			return nil
		}
		return writeDestinations(streams.Out, list)
	})
}

func (c *destinationsCommand) collect(ctx context.Context, queue gatewayv1.QueueServiceClient) ([]destinationJSON, error) {
	list := []destinationJSON{}
	request := &gatewayv1.ListDestinationsRequest{}
	for {
		request.PageSize = pageSize
		if c.Limit > 0 {
			request.PageSize = int32(min(pageSize, c.Limit-len(list)))
		}
		page, err := queue.ListDestinations(ctx, request)
		if err != nil {
			return nil, err
		}
		for _, d := range page.GetDestinations() {
			one := destinationJSON{
				Domain: d.GetDomain(), Waiting: d.GetWaiting(), OldestSecs: d.GetOldest().AsDuration().Seconds(), SuspendedBy: d.GetSuspendedBy(),
			}
			if at := d.GetSuspendedAt(); at != nil {
				one.SuspendedAt = new(at.AsTime())
			}
			list = append(list, one)
		}
		request.PageToken = page.GetNextPageToken()
		if request.PageToken == "" || c.Limit > 0 && len(list) >= c.Limit {
			return list, nil
		}
	}
}

func writeDestinations(w io.Writer, list []destinationJSON) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "DESTINATION\tWAITING\tOLDEST\tSUSPENDED")
	for _, d := range list {
		oldest, suspended := "", ""
		if d.Waiting > 0 {
			oldest = time.Duration(d.OldestSecs * float64(time.Second)).Round(time.Second).String()
		}
		if d.SuspendedAt != nil {
			suspended = "since " + d.SuspendedAt.Local().Format("2006-01-02 15:04:05") + " by " + d.SuspendedBy
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", d.Domain, d.Waiting, oldest, suspended)
	}
	return table.Flush()
}

// told prints the changes that were made.
func told(c client.Options, streams Streams, done string, ids []string) error {
	if c.JSON {
		client.WriteJSON(streams.Out, map[string]any{"change_ids": ids})
		return nil
	}
	for _, id := range ids {
		fmt.Fprintf(streams.Out, "%s (change %s)\n", done, id)
	}
	return nil
}

// each calls for one domain after the other.
func each(domains []string, call func(domain string) (id string, err error)) ([]string, error) {
	ids := make([]string, 0, len(domains))
	for _, d := range domains {
		id, err := call(d)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

type suspendCommand struct {
	client.Options
	Domain []string `arg:"" help:"Destination domains; '*' is all."`
	Reason string   `help:"Why, for the record."`
}

func (c *suspendCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		ids, err := each(c.Domain, func(d string) (string, error) {
			answer, err := gatewayv1.NewQueueServiceClient(conn).SuspendDestination(ctx, &gatewayv1.SuspendDestinationRequest{
				Domain: d, Reason: c.Reason,
			})
			return answer.GetChangeId(), err
		})
		if err != nil {
			return err
		}
		return told(c.Options, streams, "suspended", ids)
	})
}

type resumeCommand struct {
	client.Options
	Domain []string `arg:"" help:"Destination domains; '*' is all."`
}

func (c *resumeCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		ids, err := each(c.Domain, func(d string) (string, error) {
			answer, err := gatewayv1.NewQueueServiceClient(conn).ResumeDestination(ctx, &gatewayv1.ResumeDestinationRequest{Domain: d})
			return answer.GetChangeId(), err
		})
		if err != nil {
			return err
		}
		return told(c.Options, streams, "resumed", ids)
	})
}

// selecting is what retry, hold and release have in common.
type selecting struct {
	client.Options
	Mail []string `arg:"" optional:"" name:"id-or-domain" help:"Message ids, or destination domains."`
	All  bool     `help:"All mail that waits."`
}

// selections returns one selection of the messages and one of the domains, as far as there are any.
func (c *selecting) selections() ([]*gatewayv1.Selection, error) {
	messages, domains := new(gatewayv1.Selection), new(gatewayv1.Selection)
	for _, text := range c.Mail {
		if _, err := ulid.ParseStrict(text); err == nil {
			messages.MessageIds = append(messages.MessageIds, text)
		} else {
			domains.Destinations = append(domains.Destinations, text)
		}
	}
	if c.All {
		domains.Destinations = append(domains.Destinations, "*")
	}
	var list []*gatewayv1.Selection
	if len(messages.GetMessageIds()) > 0 {
		list = append(list, messages)
	}
	if len(domains.GetDestinations()) > 0 {
		list = append(list, domains)
	}
	if len(list) == 0 {
		return nil, client.Invalid("INVALID_SELECTION", errors.New("name message ids or domains, or say --all"))
	}
	return list, nil
}

func (c *selecting) run(
	ctx context.Context, streams Streams, done string,
	call func(context.Context, gatewayv1.QueueServiceClient, *gatewayv1.Selection) (id string, err error),
) error {
	list, err := c.selections()
	if err != nil {
		return err
	}
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		var ids []string
		for _, s := range list {
			id, err := call(ctx, gatewayv1.NewQueueServiceClient(conn), s)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return told(c.Options, streams, done, ids)
	})
}

type retryCommand struct{ selecting }

func (c *retryCommand) Run(ctx context.Context, streams Streams) error {
	return c.run(ctx, streams, "attempted now", func(ctx context.Context, q gatewayv1.QueueServiceClient, s *gatewayv1.Selection) (string, error) {
		answer, err := q.RetryNow(ctx, &gatewayv1.RetryNowRequest{Selection: s})
		return answer.GetChangeId(), err
	})
}

type holdCommand struct{ selecting }

func (c *holdCommand) Run(ctx context.Context, streams Streams) error {
	return c.run(ctx, streams, "held", func(ctx context.Context, q gatewayv1.QueueServiceClient, s *gatewayv1.Selection) (string, error) {
		answer, err := q.HoldMessages(ctx, &gatewayv1.HoldMessagesRequest{Selection: s})
		return answer.GetChangeId(), err
	})
}

type releaseCommand struct{ selecting }

func (c *releaseCommand) Run(ctx context.Context, streams Streams) error {
	return c.run(ctx, streams, "released", func(ctx context.Context, q gatewayv1.QueueServiceClient, s *gatewayv1.Selection) (string, error) {
		answer, err := q.ReleaseMessages(ctx, &gatewayv1.ReleaseMessagesRequest{Selection: s})
		return answer.GetChangeId(), err
	})
}
