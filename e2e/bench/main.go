// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	roles := map[string]func([]string) error{"run": runInside, "submit": runSubmit}
	if len(os.Args) > 1 {
		if role, ok := roles[os.Args[1]]; ok {
			exit(role(os.Args[2:]))
		}
	}
	exit(benchmark(os.Args[1:]))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// benchmark runs the scenarios asked for and prints the table, and the rows to a file.
func benchmark(args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	names := flags.String("scenarios", "", "scenarios with commas between; empty: "+strings.Join(ordinary(), ","))
	only := flags.String("systems", "ceiling,postfix,postrider", "systems with commas between")
	how := flags.String("submits", "", "ways to submit with commas between; empty: all of the scenario")
	runs := flags.Int("runs", 3, "runs of each; the median counts")
	out := flags.String("out", "", "file for one JSON object a row")
	figure := flags.String("figure", "", "file for a figure (SVG)")
	work := flags.String("work", "bin/bench", "folder for programs and queues, on the disk to be measured")
	profile := flags.String("profile", "", "file for a CPU profile of Postrider, of the last run's first profile-time")
	profileTime := flags.Duration("profile-time", 2*time.Second, "length of the profile, in whole seconds")
	binary := flags.String("postrider", "bin/postrider", "the all-in-one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("needs root: namespaces, port 25, control groups")
	}
	chosen, err := scenariosNamed(*names)
	if err != nil {
		return err
	}
	if *how != "" {
		for i := range chosen {
			chosen[i].submits = strings.Split(*how, ",")
		}
	}
	b := bench{runs: *runs, systems: strings.Split(*only, ","), profileTime: *profileTime}
	if *profile != "" {
		if b.profile, err = filepath.Abs(*profile); err != nil {
			return err
		}
	}
	if b.work, err = filepath.Abs(*work); err != nil {
		return err
	}
	if b.postrider, err = filepath.Abs(*binary); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := prepare(ctx, b.work, slices.Contains(b.systems, "postfix")); err != nil {
		return err
	}
	rows, err := b.run(ctx, chosen)
	printTable(os.Stdout, rows)
	if *out != "" {
		err = errors.Join(err, writeRows(*out, rows))
	}
	if *figure != "" {
		err = errors.Join(err, writeFigure(*figure, rows))
	}
	return err
}

// bench is one benchmark of several scenarios.
type bench struct {
	work, postrider string
	runs            int
	systems         []string
	profile         string
	profileTime     time.Duration
}

// run measures each way of each scenario, one run of each in turn so that a slow minute of the machine meets all alike,
// and returns the medians.
func (b bench) run(ctx context.Context, scenarios []scenario) ([]row, error) {
	var rows []row
	for _, s := range scenarios {
		ways := s.ways(b.systems)
		measured := make([][]row, len(ways))
		for range b.runs {
			for i, w := range ways {
				r, err := b.once(ctx, s, w)
				if err != nil {
					return rows, fmt.Errorf("%s by %s %s: %w", s.name, w.system, w.submit, err)
				}
				fmt.Fprintln(os.Stderr, r.line())
				measured[i] = append(measured[i], r)
			}
		}
		for _, m := range measured {
			rows = append(rows, median(m))
		}
	}
	return relate(rows), nil
}
