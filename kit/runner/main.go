// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/postrider/postrider/kit/config"
)

// Main is the main function of a process with one service. defaults is the service's configuration before the file is
// read over it.
//
//	NAME [--config FILE] [--log-format json|text] [--log-level LEVEL]   run until SIGTERM or SIGINT
//	NAME config print [--config FILE] [--markdown]                      write the configuration with comments
//	NAME health [--config FILE]                                         exit status 0 when the running process serves
//	NAME version
//
// The exit status is 0 when all went well, 1 when something failed, 2 when the command line is wrong.
func Main[C any](name string, defaults C, build func(context.Context, C, Env) (Service, error)) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	cfg := defaults
	p := &program{
		name: name, shared: DefaultShared(), unit: NewUnit(name, &cfg, build),
		getenv: os.Getenv, stdout: os.Stdout, stderr: os.Stderr,
	}
	os.Exit(p.main(ctx, os.Args[1:]))
}

// program is a command line at work.
type program struct {
	name           string
	shared         Shared
	unit           Unit
	getenv         func(string) string
	stdout, stderr io.Writer

	file, logFormat, logLevel string
	markdown                  bool
}

// main returns the exit status.
func (p *program) main(ctx context.Context, args []string) int {
	command, err := p.parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return p.fail(2, err)
	}
	if command == "version" {
		_, _ = fmt.Fprintln(p.stdout, p.name, Version())
		return 0
	}
	if p.file != "" {
		if err := config.LoadSections(p.file, p.shared.Sections(p.unit)...); err != nil {
			return p.fail(1, err)
		}
	}
	switch command {
	case "":
		err = p.run(ctx)
	case "config print":
		err = p.print()
	case "health":
		err = p.health(ctx)
	default:
		return p.fail(2, fmt.Errorf("unknown command %q", command))
	}
	if err != nil {
		return p.fail(1, err)
	}
	return 0
}

func (p *program) fail(status int, err error) int {
	_, _ = fmt.Fprintf(p.stderr, "%s: %v\n", p.name, err)
	return status
}

// parse reads flags and command words in any order.
func (p *program) parse(args []string) (command string, err error) {
	flags := flag.NewFlagSet(p.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error is told once, by fail
	flags.StringVar(&p.file, "config", p.getenv("POSTRIDER_CONFIG"), "configuration `FILE` (POSTRIDER_CONFIG)")
	flags.StringVar(&p.logFormat, "log-format", p.getenv("POSTRIDER_LOG_FORMAT"), "json or text (POSTRIDER_LOG_FORMAT)")
	flags.StringVar(&p.logLevel, "log-level", p.getenv("POSTRIDER_LOG_LEVEL"), "debug, info, warn or error (POSTRIDER_LOG_LEVEL)")
	flags.BoolVar(&p.markdown, "markdown", false, "config print: a table in Markdown")
	var words []string
	for {
		err := flags.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprintf(p.stdout, "usage: %s [flags] [config print | health | version]\n", p.name)
			flags.SetOutput(p.stdout)
			flags.PrintDefaults()
		}
		if err != nil {
			return "", err
		}
		if flags.NArg() == 0 {
			return strings.Join(words, " "), nil
		}
		words = append(words, flags.Arg(0))
		args = flags.Args()[1:]
	}
}

func (p *program) run(ctx context.Context) error {
	log, err := NewLogger(p.stderr, p.logFormat, p.logLevel)
	if err != nil {
		return err
	}
	return Run(ctx, Process{Name: p.name, Shared: p.shared, Units: []Unit{p.unit}, Log: log})
}

func (p *program) print() error {
	if p.markdown {
		return config.MarkdownSections(p.stdout, p.shared.Sections(p.unit)...)
	}
	return config.PrintSections(p.stdout, p.shared.Sections(p.unit)...)
}

func (p *program) health(ctx context.Context) error {
	if err := CheckHealth(ctx, p.unit.listenAddress(), p.shared.Node.TLS); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(p.stdout, "serving")
	return nil
}
