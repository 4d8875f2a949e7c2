// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/postrider/postrider/cmd/postrider/internal/demo"
	"github.com/postrider/postrider/kit/runner"
)

type demoCommand struct {
	LogLevel string `enum:"debug,info,warn,error" default:"error" help:"Level of the suite's own log on standard error."`
}

func (c *demoCommand) Run(ctx context.Context, streams Streams) error {
	log, err := runner.NewLogger(streams.Err, "", c.LogLevel)
	if err != nil {
		return err
	}
	return demo.Run(ctx, demo.Options{Out: streams.Out, Log: log})
}
