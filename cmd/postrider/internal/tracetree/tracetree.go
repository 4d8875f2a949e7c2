// SPDX-License-Identifier: Apache-2.0

// Package tracetree words the spans of a trace for people, as a tree with one line a span, and for scripts, as JSON. It
// asks nobody; what each kind of span says is in docs/tracing.md.
package tracetree

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/cmd/postrider/internal/jaeger"
	"github.com/postrider/postrider/cmd/postrider/internal/tree"
)

// Node is a span with those below it, by their start.
type Node struct {
	jaeger.Span
	Children []*Node
}

// Roots joins spans to trees. A span whose parent is not among them, as that of the caller, is a root.
func Roots(spans []jaeger.Span) []*Node {
	nodes := make(map[string]*Node, len(spans))
	ordered := make([]*Node, 0, len(spans))
	for _, s := range spans {
		if nodes[s.ID] == nil { // a span may be stored twice
			nodes[s.ID] = &Node{Span: s}
			ordered = append(ordered, nodes[s.ID])
		}
	}
	slices.SortStableFunc(ordered, func(a, b *Node) int { return a.Start.Compare(b.Start) })
	var roots []*Node
	for _, n := range ordered {
		if parent := nodes[n.Parent]; parent != nil && !under(nodes, parent, n.ID) {
			parent.Children = append(parent.Children, n)
		} else {
			roots = append(roots, n)
		}
	}
	return roots
}

// under reports that n is id or stands below it, so that a ring in a strange trace ends.
func under(nodes map[string]*Node, n *Node, id string) bool {
	for range len(nodes) {
		if n.ID == id {
			return true
		}
		if n = nodes[n.Parent]; n == nil {
			return false
		}
	}
	return true
}

// Tree draws a trace. Times are offsets from its first span.
func Tree(traceID string, roots []*Node) *tree.Node {
	begin, end, count := roots[0].Start, roots[0].Start, 0
	services := map[string]bool{}
	walk(roots, func(n *Node) {
		count++
		services[n.Service] = true
		end = latest(end, n.Start.Add(n.Duration))
	})
	names := make([]string, 0, len(services))
	for name := range services {
		names = append(names, name)
	}
	slices.SortFunc(names, cmp.Compare[string])
	root := &tree.Node{Text: fmt.Sprintf("trace %s  %d spans of %s  %s, %s", traceID, count, strings.Join(names, ", "),
		begin.Local().Format("2006-01-02 15:04:05.000"), took(end.Sub(begin)))}
	draw(root, roots, begin)
	return root
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func walk(nodes []*Node, visit func(*Node)) {
	for _, n := range nodes {
		visit(n)
		walk(n.Children, visit)
	}
}

func draw(parent *tree.Node, nodes []*Node, begin time.Time) {
	for _, n := range nodes {
		line := fmt.Sprintf("%s  +%s  %s", title(n), took(n.Start.Sub(begin)), took(n.Duration))
		if facts := facts(n); facts != "" {
			line += "  " + facts
		}
		branch := parent.Add("%s", line)
		for _, e := range n.Events {
			if said, ok := e.Attributes["smtp.transcript.line"].(string); ok {
				branch.Add("%s", said)
			}
		}
		draw(branch, n.Children, begin)
	}
}

// title is the name of the span; one of a gRPC call also tells which end it is.
func title(n *Node) string {
	if strings.Contains(n.Name, "/") {
		return fmt.Sprintf("%s (%s %s)", n.Name, n.Service, text(n, "span.kind"))
	}
	return n.Name
}

func took(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	default:
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
}
