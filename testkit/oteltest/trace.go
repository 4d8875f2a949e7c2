// SPDX-License-Identifier: Apache-2.0

package oteltest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Trace is what a sink has of one trace. Spans may still be under way.
type Trace struct {
	ID    string
	Spans []Span // by start

	byID map[string]int // index in Spans
}

func newTrace(id string, spans []Span) *Trace {
	slices.SortStableFunc(spans, func(a, b Span) int { return a.Start.Compare(b.Start) })
	t := &Trace{ID: id, Spans: spans, byID: map[string]int{}}
	for i, s := range spans {
		t.byID[s.SpanID] = i
	}
	return t
}

// Span gives a span by its id.
func (t *Trace) Span(spanID string) (Span, bool) {
	i, ok := t.byID[spanID]
	if !ok {
		return Span{}, false
	}
	return t.Spans[i], true
}

// Parent gives the span's parent, if it has one and it has arrived.
func (t *Trace) Parent(s Span) (Span, bool) { return t.Span(s.ParentID) }

// Children are the spans whose parent is s, by start.
func (t *Trace) Children(s Span) []Span {
	return t.all(func(c Span) bool { return c.ParentID == s.SpanID })
}

// Roots are the spans without a parent, and those whose parent has not arrived, such as one of the caller.
func (t *Trace) Roots() []Span {
	return t.all(func(s Span) bool { _, ok := t.Parent(s); return !ok })
}

// Named are the spans of a name, by start.
func (t *Trace) Named(name string) []Span {
	return t.all(func(s Span) bool { return s.Name == name })
}

// Under reports whether s lies below ancestor, at whatever depth.
func (t *Trace) Under(s, ancestor Span) bool {
	for range t.Spans { // no cycle of a broken sender goes on for ever
		p, ok := t.Parent(s)
		if !ok {
			return false
		}
		if p.SpanID == ancestor.SpanID {
			return true
		}
		s = p
	}
	return false
}

func (t *Trace) all(match func(Span) bool) []Span {
	return slices.DeleteFunc(slices.Clone(t.Spans), func(s Span) bool { return !match(s) })
}

// String draws the tree, one span a line, for the messages of tests.
func (t *Trace) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "trace %s\n", t.ID)
	seen := map[string]bool{}
	var draw func(s Span, depth int)
	draw = func(s Span, depth int) {
		if seen[s.SpanID] {
			return
		}
		seen[s.SpanID] = true
		fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", depth+1), describe(s))
		for _, c := range t.Children(s) {
			draw(c, depth+1)
		}
	}
	for _, s := range t.Roots() {
		draw(s, 0)
	}
	return b.String()
}

func describe(s Span) string {
	line := fmt.Sprintf("%s (%s, %s, %s)", s.Name, cmp.Or(s.Service(), "no service"), s.Duration(), s.Status)
	keys := make([]string, 0, len(s.Attributes))
	for k := range s.Attributes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		line += fmt.Sprintf(" %s=%v", k, s.Attributes[k])
	}
	return line
}

// outline draws all traces of some spans.
func outline(spans []Span) string {
	var ids []string
	for _, s := range spans {
		if !slices.Contains(ids, s.TraceID) {
			ids = append(ids, s.TraceID)
		}
	}
	var b strings.Builder
	for _, id := range ids {
		own := slices.DeleteFunc(slices.Clone(spans), func(s Span) bool { return s.TraceID != id })
		b.WriteString(newTrace(id, own).String())
	}
	return b.String()
}
