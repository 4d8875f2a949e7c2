// SPDX-License-Identifier: Apache-2.0

package runner

import "github.com/postrider/postrider/kit/config"

// Shared are the sections every process has.
type Shared struct {
	Node      config.Node
	NATS      config.NATS
	Queue     config.Queue
	Telemetry config.Telemetry
}

// DefaultShared returns the defaults of the shared sections.
func DefaultShared() Shared {
	return Shared{
		Node:      config.DefaultNode(),
		NATS:      config.DefaultNATS(),
		Queue:     config.DefaultQueue(),
		Telemetry: config.DefaultTelemetry(),
	}
}

// Sections returns the sections of a process's file: the shared ones, then those of the units.
func (s *Shared) Sections(units ...Unit) []config.Section {
	sections := make([]config.Section, 0, 4+len(units))
	sections = append(sections,
		config.Section{Name: "node", Value: &s.Node},
		config.Section{Name: "nats", Value: &s.NATS},
		config.Section{Name: "queue", Value: &s.Queue},
		config.Section{Name: "telemetry", Value: &s.Telemetry},
	)
	for _, u := range units {
		sections = append(sections, u.Section())
	}
	return sections
}

// Validate checks the shared sections.
func (s *Shared) Validate() error {
	var f config.Faults
	f.Join(s.Node.Validate())
	f.Join(s.NATS.Validate())
	f.Join(s.Queue.Validate())
	f.Join(s.Telemetry.Validate())
	return f.Err()
}
