// SPDX-License-Identifier: Apache-2.0

// Command postrider is the whole suite in one process with an embedded NATS, and the command line to a running one.
package main

import (
	"os"

	"github.com/postrider/postrider/cmd/postrider/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
