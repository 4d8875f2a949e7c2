// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// Sizes of the scenarios, the same for all systems.
const (
	callers = 50  // sessions, connections or callers that submit at once
	domains = 200 // of many-domains

	oneHost = "127.0.0.2:25"
)

// scenario is one load.
type scenario struct {
	name      string
	messages  int
	size      int    // bytes of a message
	recipient string // %03d is the number of a domain
	sink      string // address the sink listens on
	submits   []string
	further   bool // only when asked for, and only Postrider

	env      []string       // of Postrider
	settings map[string]any // of Postrider
	queued   int            // messages that wait behind a suspended destination
}

// way is one system and how mail is handed to it.
type way struct{ system, submit string }

var byGRPC = []string{"unary", "keyed", "many"}

func scenarios() []scenario {
	one := scenario{
		name: "one-domain", messages: 20_000, size: 2 << 10, recipient: "to@one.bench.test", sink: oneHost, submits: byGRPC,
	}
	with := func(name string, change func(*scenario)) scenario {
		s := one
		s.name = name
		change(&s)
		return s
	}
	return []scenario{
		one,
		with("many-domains", func(s *scenario) { s.recipient, s.sink = "to@d%03d.bench.test", "0.0.0.0:25" }),
		with("big", func(s *scenario) { s.messages, s.size, s.submits = 2_000, 300<<10, []string{"unary"} }),
		with("hundred-kib", func(s *scenario) { s.messages, s.size, s.submits = 5_000, 100<<10, []string{"unary"} }),
		with("dead-mx", func(s *scenario) { s.recipient, s.submits = "to@dead.bench.test", []string{"unary"} }),
		with("latency", func(s *scenario) { s.messages, s.submits = 500, []string{"fresh", "kept"} }),
		with("traced", func(s *scenario) {
			s.further, s.submits = true, []string{"unary"}
			s.env = []string{"OTEL_TRACES_EXPORTER=otlp"}
		}),
		with("interesting", func(s *scenario) {
			s.further, s.submits = true, []string{"unary"}
			s.env = []string{"OTEL_TRACES_EXPORTER=otlp"}
			s.settings = map[string]any{"telemetry": map[string]any{"traces": "interesting"}}
		}),
		with("queued-100k", func(s *scenario) { s.further, s.submits, s.queued = true, []string{"unary"}, 100_000 }),
		with("queued-1m", func(s *scenario) { s.further, s.submits, s.queued = true, []string{"unary"}, 1_000_000 }),
	}
}

// ordinary are the scenarios of a run that names none.
func ordinary() []string {
	var names []string
	for _, s := range scenarios() {
		if !s.further {
			names = append(names, s.name)
		}
	}
	return names
}

// scenariosNamed returns the scenarios of a list with commas.
func scenariosNamed(list string) ([]scenario, error) {
	names := ordinary()
	if list != "" {
		names = strings.Split(list, ",")
	}
	var found []scenario
	for _, name := range names {
		i := slices.IndexFunc(scenarios(), func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no scenario %q", name)
		}
		found = append(found, scenarios()[i])
	}
	return found, nil
}

// ways lists how the scenario is run by the systems wanted.
func (s scenario) ways(systems []string) []way {
	var ways []way
	for _, system := range []string{"ceiling", "postfix", "postrider"} {
		if !slices.Contains(systems, system) || s.further && system != "postrider" {
			continue
		}
		switch {
		case system == "postrider":
			for _, submit := range s.submits {
				ways = append(ways, way{system, submit})
			}
		case s.name == "latency" && system == "postfix":
			ways = append(ways, way{system, "fresh"}, way{system, "kept"})
		case s.name != "latency":
			ways = append(ways, way{system, "smtp"})
		}
	}
	return ways
}

// to is the recipient of the n-th message.
func (s scenario) to(n int) string {
	return strings.Replace(s.recipient, "%03d", fmt.Sprintf("%03d", n%domains+1), 1)
}
