// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/cmd/postrider/internal/timeline"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

type listCommand struct {
	client.Options
	State       []string      `help:"Only messages with a recipient in one of these states: queued, deferred, delivered, bounced, expired, held, …"`
	Destination string        `help:"Only messages to this domain."`
	Sender      string        `help:"Only messages of this envelope sender."`
	Tag         string        `help:"Only messages with this tag."`
	Tenant      string        `help:"Only messages of this tenant."`
	Since       time.Duration `help:"Only messages accepted in this last time, such as 24h."`
	Limit       int           `default:"50" help:"Most messages; 0 is all."`
}

const pageSize = 500

func (c *listCommand) Run(ctx context.Context, streams Streams) error {
	request, err := c.request()
	if err != nil {
		return err
	}
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		messages, err := c.collect(ctx, gatewayv1.NewMailServiceClient(conn), request)
		if err != nil {
			return err
		}
		if c.JSON {
			list := make([]timeline.Status, 0, len(messages))
			for _, m := range messages {
				list = append(list, timeline.StatusOf(m))
			}
			client.WriteJSON(streams.Out, map[string]any{"messages": list})
			return nil
		}
		return writeList(streams.Out, messages)
	})
}

func (c *listCommand) request() (*gatewayv1.ListMessagesRequest, error) {
	r := &gatewayv1.ListMessagesRequest{Destination: c.Destination, Sender: c.Sender, Tag: c.Tag, Tenant: c.Tenant}
	for _, word := range c.State {
		state, known := eventv1.RecipientState_value["RECIPIENT_STATE_"+strings.ToUpper(word)]
		if !known || state == 0 {
			return nil, client.Invalid("INVALID_STATE", fmt.Errorf("--state %q is no state", word))
		}
		r.States = append(r.States, eventv1.RecipientState(state))
	}
	if c.Since > 0 {
		r.AcceptedAfter = timestamppb.New(time.Now().Add(-c.Since))
	}
	return r, nil
}

// collect asks page by page until the limit or the end.
func (c *listCommand) collect(ctx context.Context, mail gatewayv1.MailServiceClient, r *gatewayv1.ListMessagesRequest) ([]*gatewayv1.Message, error) {
	var all []*gatewayv1.Message
	for {
		r.PageSize = pageSize
		if c.Limit > 0 {
			r.PageSize = int32(min(pageSize, c.Limit-len(all)))
		}
		page, err := mail.ListMessages(ctx, r)
		if err != nil {
			return nil, err
		}
		all = append(all, page.GetMessages()...)
		r.PageToken = page.GetNextPageToken()
		if r.PageToken == "" || (c.Limit > 0 && len(all) >= c.Limit) {
			return all, nil
		}
	}
}

func writeList(w io.Writer, messages []*gatewayv1.Message) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "MESSAGE\tACCEPTED\tSIZE\tSENDER\tRECIPIENTS")
	for _, m := range messages {
		sender := m.GetSender()
		if sender == "" {
			sender = "<>"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", m.GetMessageId(), m.GetAcceptedAt().AsTime().Local().Format("2006-01-02 15:04:05"),
			m.GetSize(), sender, tally(m.GetRecipients()))
	}
	return table.Flush()
}

// tally names a lone recipient with its state, and counts several by state.
func tally(recipients []*gatewayv1.RecipientStatus) string {
	if len(recipients) == 1 {
		return recipients[0].GetAddress() + " " + timeline.State(recipients[0].GetState())
	}
	counts := map[eventv1.RecipientState]int{}
	for _, r := range recipients {
		counts[r.GetState()]++
	}
	var parts []string
	for state := range eventv1.RecipientState(len(eventv1.RecipientState_name)) {
		if n := counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, timeline.State(state)))
		}
	}
	return strings.Join(parts, ", ")
}
