// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/cmd/postrider/internal/mailfile"
	"github.com/postrider/postrider/cmd/postrider/internal/submit"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// maxFile bounds what send reads into memory; the server's own limit is gateway.max_message_size.
const maxFile = 1 << 30

type sendCommand struct {
	client.Options
	File           string   `arg:"" help:"Message file (.eml) with LF or CRLF line endings, or - for standard input."`
	From           string   `required:"" help:"Envelope sender; an empty one is the null reverse-path."`
	To             []string `required:"" sep:"none" help:"Recipient. Repeat for several."`
	Notify         []string `help:"NOTIFY for all recipients: never, or a list of success, failure, delay (RFC 3461, section 4.1)."`
	Ret            string   `enum:",full,hdrs" default:"" help:"RET: full or hdrs (RFC 3461, section 4.3)."`
	Envid          string   `help:"ENVID, as plain text (RFC 3461, section 4.4)."`
	Orcpt          []string `sep:"none" help:"ORCPT as type;address in plain text, one for each --to in its order."`
	RequireTLS     bool     `name:"require-tls" help:"Deliver only over verified TLS (RFC 8689)."`
	IdempotencyKey string   `name:"idempotency-key" help:"The same key and content gives the same message within 24 hours."`
	Tag            string   `help:"Tag for filters."`
	Tenant         string   `help:"Tenant the message counts for."`
	Priority       string   `enum:",urgent,normal,bulk" default:"" help:"urgent, normal or bulk."`
}

func (c *sendCommand) Run(ctx context.Context, streams Streams) error {
	content, err := mailfile.Read(c.File, streams.In, maxFile)
	if err != nil {
		return fileError(err)
	}
	envelope, err := c.envelope()
	if err != nil {
		return err
	}
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		accepted, err := submit.Message(ctx, gatewayv1.NewMailServiceClient(conn), envelope, content)
		if err != nil {
			return err
		}
		if c.JSON {
			client.WriteJSON(streams.Out, struct {
				MessageID string `json:"message_id"`
				Duplicate bool   `json:"duplicate,omitempty"`
			}{accepted.GetMessageId(), accepted.GetDuplicate()})
			return nil
		}
		fmt.Fprintln(streams.Out, accepted.GetMessageId())
		return nil
	})
}

// fileError types what is wrong with a message file, with the reasons the gateway has for the same.
func fileError(err error) error {
	switch {
	case errors.Is(err, mailfile.ErrMixedNewlines):
		return client.Invalid("BARE_NEWLINE", err)
	case errors.Is(err, mailfile.ErrTooLarge):
		return client.Invalid("MESSAGE_TOO_LARGE", err)
	default:
		return client.Invalid("FILE_UNREADABLE", err)
	}
}

func (c *sendCommand) envelope() (*gatewayv1.Envelope, error) {
	if len(c.Orcpt) > len(c.To) {
		return nil, client.Invalid("INVALID_ORCPT", fmt.Errorf("--orcpt was given %d times for %d recipients", len(c.Orcpt), len(c.To)))
	}
	notify, err := notifyValues(c.Notify)
	if err != nil {
		return nil, err
	}
	e := &gatewayv1.Envelope{
		Sender: c.From, Ret: retValues[c.Ret], Envid: c.Envid, RequireTls: c.RequireTLS,
		IdempotencyKey: c.IdempotencyKey, Tag: c.Tag, Tenant: c.Tenant, Priority: priorities[c.Priority],
	}
	for i, to := range c.To {
		r := &gatewayv1.Recipient{Address: to, Notify: notify}
		if i < len(c.Orcpt) {
			r.Orcpt = c.Orcpt[i]
		}
		e.Recipients = append(e.Recipients, r)
	}
	return e, nil
}

var retValues = map[string]eventv1.Ret{"full": eventv1.Ret_RET_FULL, "hdrs": eventv1.Ret_RET_HDRS}

var priorities = map[string]eventv1.Priority{
	"urgent": eventv1.Priority_PRIORITY_URGENT,
	"normal": eventv1.Priority_PRIORITY_NORMAL,
	"bulk":   eventv1.Priority_PRIORITY_BULK,
}

func notifyValues(words []string) ([]eventv1.Notify, error) {
	var values []eventv1.Notify
	for _, w := range words {
		v, ok := eventv1.Notify_value["NOTIFY_"+strings.ToUpper(w)]
		if !ok || v == 0 {
			return nil, client.Invalid("INVALID_NOTIFY", fmt.Errorf("--notify %q: must be never, success, failure or delay", w))
		}
		values = append(values, eventv1.Notify(v))
	}
	return values, nil
}
