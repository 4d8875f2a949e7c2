// SPDX-License-Identifier: Apache-2.0

package tracetree

import (
	"time"
)

// Span is a span with those below it, as `postrider trace --json` prints it. Its names are a promise to scripts.
type Span struct {
	SpanID     string         `json:"span_id"`
	ParentID   string         `json:"parent_id"`
	Service    string         `json:"service"`
	Name       string         `json:"name"`
	StartedAt  time.Time      `json:"started_at"`
	DurationMS float64        `json:"duration_ms"`
	Attributes map[string]any `json:"attributes"`
	Events     []Event        `json:"events"`
	Links      []string       `json:"links"`
	Children   []Span         `json:"children"`
}

// Event is something that happened within a span.
type Event struct {
	Name       string         `json:"name"`
	At         time.Time      `json:"at"`
	Attributes map[string]any `json:"attributes"`
}

// JSON is the form of a forest for scripts.
func JSON(nodes []*Node) []Span {
	out := make([]Span, 0, len(nodes))
	for _, n := range nodes {
		s := Span{
			SpanID: n.ID, ParentID: n.Parent, Service: n.Service, Name: n.Name, StartedAt: n.Start.UTC(),
			DurationMS: float64(n.Duration.Microseconds()) / 1000, Attributes: n.Attributes,
			Events: make([]Event, 0, len(n.Events)), Links: append([]string{}, n.Links...), Children: JSON(n.Children),
		}
		for _, e := range n.Events {
			s.Events = append(s.Events, Event{Name: e.Name, At: e.Time.UTC(), Attributes: e.Attributes})
		}
		out = append(out, s)
	}
	return out
}
