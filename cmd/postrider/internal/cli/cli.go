// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line: one file a command. Commands that talk to a running Postrider take --server,
// --token-file and --json; a command that fails says why on standard error and ends with status 1.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
)

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

type commands struct {
	Serve   serveCommand   `cmd:"" help:"Run gateway, resolver, sender, dsn and an embedded NATS in this process."`
	Demo    demoCommand    `cmd:"" help:"Deliver a real message past a silent and a dead mail host, and show how."`
	Send    sendCommand    `cmd:"" help:"Submit a message file; prints the message id."`
	Status  statusCommand  `cmd:"" help:"Show where a message and each of its recipients stand."`
	Trace   traceCommand   `cmd:"" help:"Show the trace of a message from Jaeger: each step, why each host was left, loop decisions."`
	Explain explainCommand `cmd:"" help:"Show every decision made for a message, the loop rules included, with its rule, values and limit."`
	List    listCommand    `cmd:"" help:"List messages, the newest first."`
	Watch   watchCommand   `cmd:"" help:"Print what happens to messages as it happens."`
	Cancel  cancelCommand  `cmd:"" help:"Take messages back."`
	Queue   queueCommands  `cmd:"" help:"The queue."`
	Route   routeCommand   `cmd:"" help:"Show the mail hosts of a domain, or why there are none."`
	Probe   probeCommand   `cmd:"" help:"Go the way mail to a domain would go, up to RCPT and without mail, and show each step."`
	DNS     dnsCommands    `cmd:"" name:"dns" help:"DNS servers."`
	DSN     dsnCommands    `cmd:"" name:"dsn" help:"Notifications to senders."`
	Config  configCommands `cmd:"" help:"Configuration."`
	Health  healthCommand  `cmd:"" help:"Ask a running server whether it is serving."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// silentError has been told on standard output already; it only sets the exit status.
type silentError struct{ text string }

func (e silentError) Error() string { return e.text }

const (
	exitFailure = 1
	exitUsage   = 2
)

// Main runs one command and returns the exit status: 0 success, 1 failure, 2 wrong usage.
func Main(args []string, streams Streams) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var c commands
	exited := -1
	parser, err := kong.New(&c, kong.Name("postrider"), kong.Description("Outbound mail over gRPC."),
		kong.Writers(streams.Out, streams.Err), kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(streams), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(streams.Err, "postrider:", err)
		return exitFailure
	}
	command, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	asJSON := slices.Contains(args, "--json")
	if err != nil {
		report(streams, client.Invalid("USAGE", err), asJSON)
		return exitUsage
	}
	if err := command.Run(); err != nil {
		report(streams, err, asJSON)
		return exitFailure
	}
	return 0
}

func report(streams Streams, err error, asJSON bool) {
	var silent silentError
	if errors.As(err, &silent) {
		return
	}
	out := streams.Err
	if asJSON {
		out = streams.Out
	}
	client.WriteError(out, err, asJSON)
}
