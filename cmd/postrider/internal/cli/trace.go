// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/cmd/postrider/internal/jaeger"
	"github.com/postrider/postrider/cmd/postrider/internal/tracetree"
	"github.com/postrider/postrider/cmd/postrider/internal/tree"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

type traceCommand struct {
	client.Options
	ID     string `arg:"" help:"Message id, as printed by send, or a trace id of 32 hexadecimal digits."`
	Jaeger string `env:"POSTRIDER_JAEGER" help:"Address of Jaeger's query port, such as http://127.0.0.1:16686."`
	Link   string `name:"jaeger-link" env:"POSTRIDER_JAEGER_LINK" help:"Address of the same for the link shown. Without it that of --jaeger."`
}

// traceJSON is what `postrider trace --json` prints.
type traceJSON struct {
	MessageID string           `json:"message_id"`
	TraceID   string           `json:"trace_id"`
	Link      string           `json:"link"`
	Spans     []tracetree.Span `json:"spans"`
}

var traceID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func (c *traceCommand) Run(ctx context.Context, streams Streams) error {
	if c.Jaeger == "" {
		return client.Invalid("JAEGER_NOT_CONFIGURED", errors.New(
			"no Jaeger is named: give its query port as --jaeger http://127.0.0.1:16686 or POSTRIDER_JAEGER (postrider status needs none)"))
	}
	query, err := jaeger.New(c.Jaeger)
	if err != nil {
		return client.Invalid("INVALID_JAEGER", err)
	}
	shown := query
	if c.Link != "" {
		if shown, err = jaeger.New(c.Link); err != nil {
			return client.Invalid("INVALID_JAEGER", err)
		}
	}
	out := traceJSON{TraceID: c.ID}
	if !traceID.MatchString(c.ID) {
		if out.MessageID, out.TraceID, err = c.ofMessage(ctx); err != nil {
			return err
		}
	}
	out.Link = shown.Link(out.TraceID)
	spans, err := query.Trace(ctx, out.TraceID)
	if err != nil {
		return traceError(err)
	}
	roots := tracetree.Roots(spans)
	if c.JSON {
		out.Spans = tracetree.JSON(roots)
		client.WriteJSON(streams.Out, out)
		return nil
	}
	if err := tree.Write(streams.Out, tracetree.Tree(out.TraceID, roots)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(streams.Out, out.Link)
	return err
}

// ofMessage asks the gateway for the trace of a message.
func (c *traceCommand) ofMessage(ctx context.Context) (message, trace string, err error) {
	err = c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		answer, err := gatewayv1.NewMailServiceClient(conn).GetMessage(ctx, &gatewayv1.GetMessageRequest{MessageId: c.ID})
		message, trace = answer.GetMessage().GetMessageId(), answer.GetMessage().GetTraceId()
		return err
	})
	if err == nil && trace == "" {
		err = &client.Failure{Code: codes.NotFound, Reason: "NOT_TRACED", Err: fmt.Errorf("message %s has no trace", c.ID)}
	}
	return message, trace, err
}

// traceError types what Jaeger did not answer, and says what to do about it.
func traceError(err error) error {
	switch {
	case errors.Is(err, jaeger.ErrUnreachable):
		return &client.Failure{Code: codes.Unavailable, Reason: "JAEGER_UNREACHABLE", Err: fmt.Errorf(
			"%w (--jaeger names another address; postrider status needs none)", err)}
	case errors.Is(err, jaeger.ErrNotFound):
		return &client.Failure{Code: codes.NotFound, Reason: "TRACE_NOT_FOUND", Err: fmt.Errorf(
			"%w; spans come with a delay of seconds, telemetry.traces and OTEL_* say which are sent, and Jaeger keeps them for a time only", err)}
	default:
		return &client.Failure{Code: codes.Unknown, Reason: "JAEGER_ANSWER", Err: err}
	}
}
