// SPDX-License-Identifier: Apache-2.0

// Command demohost is one host of the Internet that the container demo delivers to (deploy/compose.yaml, profile demo):
// its DNS server, or a mail host with a behaviour. It is for demonstrations and tests only.
//
//	demohost dns ADDRESS ZONEFILE              answer from a zone file over UDP and TCP
//	demohost mail ADDRESS NAME BEHAVIOUR       behaviour: take, relay, silent, refuse-recipients, return=HOST:PORT
//	demohost health ADDRESS                    exit status 0 when something listens there (TCP)
//
// take keeps nothing but tells of each message on standard output; relay is take with AUTH PLAIN; silent accepts connections and never says a word;
// refuse-recipients answers every RCPT with 550 5.1.1; return=HOST:PORT hands each message to another SMTP server and
// answers with what that one says, as a host does that is part of a loop.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const healthLimit = 2 * time.Second

var errUsage = errors.New("usage: demohost dns ADDRESS ZONEFILE | mail ADDRESS NAME BEHAVIOUR | health ADDRESS")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demohost:", err)
		os.Exit(1)
	}
}

// run plays one part until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	log := slog.New(slog.NewJSONHandler(out, nil))
	switch {
	case len(args) == 3 && args[0] == "dns":
		return serveDNS(ctx, log, args[1], args[2])
	case len(args) == 4 && args[0] == "mail":
		return serveMail(ctx, log, args[1], args[2], args[3])
	case len(args) == 2 && args[0] == "health":
		return health(ctx, args[1])
	default:
		return errUsage
	}
}

func health(ctx context.Context, address string) error {
	d := net.Dialer{Timeout: healthLimit}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
