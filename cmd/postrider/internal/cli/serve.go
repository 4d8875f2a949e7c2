// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/postrider/postrider/cmd/postrider/internal/allinone"
	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/runner"
)

// configFlag names the file that is read over the defaults.
type configFlag struct {
	Config string `type:"path" env:"POSTRIDER_CONFIG" help:"Configuration file. Without it the defaults hold."`
}

func (f configFlag) load() (*allinone.Config, error) {
	c := allinone.Default()
	if f.Config == "" {
		return c, nil
	}
	return c, c.Load(f.Config)
}

type serveCommand struct {
	configFlag
	RebuildView bool   `name:"rebuild-view" help:"Fold the status view anew from the queue at the start."`
	LogFormat   string `enum:",json,text" default:"" env:"POSTRIDER_LOG_FORMAT" help:"json or text; text on a terminal unless given."`
	LogLevel    string `enum:"debug,info,warn,error" default:"info" env:"POSTRIDER_LOG_LEVEL" help:"debug, info, warn or error."`
}

func (c *serveCommand) Run(ctx context.Context, streams Streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	cfg.Gateway.RebuildView = c.RebuildView
	log, err := runner.NewLogger(streams.Err, c.LogFormat, c.LogLevel)
	if err != nil {
		return err
	}
	return allinone.Run(ctx, cfg, allinone.Options{Log: log})
}

type configCommands struct {
	Print configPrintCommand `cmd:"" help:"Print every key with its value and its comment."`
}

type configPrintCommand struct {
	configFlag
	Markdown bool `help:"Print the reference as a Markdown page instead of YAML."`
}

func (c *configPrintCommand) Run(streams Streams) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if c.Markdown {
		fmt.Fprint(streams.Out, "# Configuration\n\n"+
			"Printed from the structs by `postrider config print --markdown`. One YAML file for each process; the sections\n"+
			"`node`, `nats`, `queue` and `telemetry` are the same in all, the others belong to the service they name. Unknown\n"+
			"keys are errors.\n\n")
		return config.MarkdownSections(streams.Out, cfg.Sections()...)
	}
	return config.PrintSections(streams.Out, cfg.Sections()...)
}

type versionCommand struct {
	JSON bool `name:"json" help:"Print JSON instead of text for people."`
}

func (c *versionCommand) Run(streams Streams) error {
	if c.JSON {
		client.WriteJSON(streams.Out, map[string]string{"version": runner.Version()})
		return nil
	}
	fmt.Fprintln(streams.Out, "postrider", runner.Version())
	return nil
}
