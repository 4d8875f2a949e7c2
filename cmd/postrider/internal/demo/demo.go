// SPDX-License-Identifier: Apache-2.0

// Package demo shows the first of the five failures Postrider exists for, and that it is none any more: a real
// message, handed in over gRPC, passes a mail host that accepts the connection and stays silent, and one that
// refuses, and reaches the third unchanged. All of it is real: the suite with its embedded NATS, DNS and SMTP over
// loopback sockets.
package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/postrider/postrider/cmd/postrider/internal/allinone"
	"github.com/postrider/postrider/cmd/postrider/internal/mailfile"
	"github.com/postrider/postrider/cmd/postrider/internal/submit"
	"github.com/postrider/postrider/cmd/postrider/internal/tree"
	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	"github.com/postrider/postrider/kit/telemetry"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

//go:embed message.eml
var messageFile []byte

const (
	envelopeSender = "orders@shop.example"
	recipient      = "ada@reader.example"
	// greetingTimeout is how long the silent host is given here; sender.timeouts.greeting is a minute by default.
	greetingTimeout = 3 * time.Second
	limit           = 90 * time.Second
)

// Options say where the demo reports.
type Options struct {
	// Out takes the story.
	Out io.Writer
	// Log takes the suite's own log.
	Log *slog.Logger
}

// Run plays the demo. Nil means that the first host was left for its silence, the second for its refusal, and the
// third received exactly what was sent.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	content, err := mailfile.CRLF(messageFile)
	if err != nil {
		return err
	}
	w, err := openWorld()
	if err != nil {
		return err
	}
	defer w.Close()
	dir, err := os.MkdirTemp("", "postrider-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left of a demo does no harm

	fmt.Fprintf(o.Out, "Three mail hosts for reader.example on port %d:\n"+
		"  mx1 127.0.0.2  accepts the connection and stays silent\n"+
		"  mx2 127.0.0.3  refuses the connection\n"+
		"  mx3 127.0.0.4  takes mail\n"+
		"A silent host is given %s here (sender.timeouts.greeting, 1m by default).\n\n", w.port, greetingTimeout)
	spans := &recorder{}
	return withSuite(ctx, settings(dir, w), o.Log, spans, func(ctx context.Context, mail gatewayv1.MailServiceClient) error {
		return play(ctx, o.Out, w, mail, content, spans)
	})
}

func settings(dir string, w *world) *allinone.Config {
	c := allinone.Default()
	c.Shared.Node.Name = "postrider.example"
	c.Shared.Node.HTTPListen = "off"
	c.Shared.NATS.DataDir = dir
	c.Gateway.Listen = "127.0.0.1:0"
	c.Resolver.Servers = []string{w.dns.Addr().String()}
	c.Resolver.AllowSpecialAddresses = loopback()
	c.Sender.SMTPPort = w.port
	c.Sender.Timeouts.Greeting = config.Duration(greetingTimeout)
	return c
}

// withSuite runs the all-in-one, lets use talk to it over gRPC, and stops it.
func withSuite(ctx context.Context, c *allinone.Config, log *slog.Logger, spans sdktrace.SpanProcessor, use func(context.Context, gatewayv1.MailServiceClient) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan runner.Addresses, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- allinone.Run(ctx, c, allinone.Options{
			Log: log, OnReady: func(a runner.Addresses) { ready <- a },
			Telemetry: []telemetry.Option{telemetry.WithObserver(spans)},
		})
	}()
	var addresses runner.Addresses
	select {
	case addresses = <-ready:
	case err := <-ended:
		return errors.Join(errors.New("the suite ended before it was ready"), err)
	}
	conn, err := rpc.Dial(addresses.GRPC.String(), rpc.ClientOptions{DefaultTimeout: limit})
	if err != nil {
		return err
	}
	defer conn.Close()
	err = use(ctx, gatewayv1.NewMailServiceClient(conn))
	stop()
	return errors.Join(err, <-ended)
}

// play submits the message, waits for its end and tells what happened.
func play(ctx context.Context, out io.Writer, w *world, mail gatewayv1.MailServiceClient, content []byte, spans *recorder) error {
	begin := time.Now()
	envelope := &gatewayv1.Envelope{Sender: envelopeSender, Recipients: []*gatewayv1.Recipient{{Address: recipient}}}
	accepted, err := submit.Message(ctx, mail, envelope, content)
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	fmt.Fprintf(out, "Submitted %d bytes over gRPC; durable and accepted as %s after %.1f ms.\n",
		len(content), accepted.GetMessageId(), float64(time.Since(begin).Microseconds())/1000)
	message, err := await(ctx, out, mail, accepted.GetMessageId())
	if err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := tree.Write(out, story(message, spans.trace(message.GetTraceId()))); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := verify(out, w, message, content); err != nil {
		return err
	}
	fmt.Fprintln(out, "\n"+advice(os.Getenv, message.GetTraceId()))
	return nil
}

// advice says where to see the same trace: it is only there when a collector was named to this run.
func advice(getenv func(string) string, trace string) string {
	named := getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") + getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
	off := getenv("OTEL_TRACES_EXPORTER") == "none" || getenv("OTEL_SDK_DISABLED") == "true"
	if named != "" && !off {
		return "The same in Jaeger: look for trace " + trace + ", or run\n" +
			"  bin/postrider trace " + trace + " --jaeger http://127.0.0.1:16686"
	}
	return "To see the same in Jaeger, start Jaeger (or any OTLP collector) and run\n" +
		"  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 make demo\n" +
		"It ends with the id of the trace to look for."
}

// await asks for the message until every recipient is final, with a dot of progress every half second.
func await(ctx context.Context, out io.Writer, mail gatewayv1.MailServiceClient, id string) (*gatewayv1.Message, error) {
	ask := time.NewTicker(50 * time.Millisecond)
	defer ask.Stop()
	fmt.Fprint(out, "Waiting for the delivery ")
	for n := 1; ; n++ {
		answer, err := mail.GetMessage(ctx, &gatewayv1.GetMessageRequest{MessageId: id})
		if err != nil {
			return nil, fmt.Errorf("ask for the message: %w", err)
		}
		if answer.GetMessage().GetState() == gatewayv1.MessageState_MESSAGE_STATE_DONE {
			fmt.Fprintln(out, "done")
			return answer.GetMessage(), nil
		}
		if n%10 == 0 {
			fmt.Fprint(out, ".")
		}
		select {
		case <-ask.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("no final state: %w", ctx.Err())
		}
	}
}
