// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/postrider/postrider/cmd/postrider/internal/timeline"
	"github.com/postrider/postrider/cmd/postrider/internal/tree"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// recorder keeps finished spans; it is what a collector would be sent.
type recorder struct {
	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan
}

func (r *recorder) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (r *recorder) Shutdown(context.Context) error                  { return nil }
func (r *recorder) ForceFlush(context.Context) error                { return nil }

func (r *recorder) OnEnd(s sdktrace.ReadOnlySpan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = append(r.spans, s)
}

// trace returns the spans of one trace by their start.
func (r *recorder) trace(id string) []sdktrace.ReadOnlySpan {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []sdktrace.ReadOnlySpan
	for _, s := range r.spans {
		if s.SpanContext().TraceID().String() == id {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	return found
}

// story is the message's timeline with what DNS answered before the first host was tried.
func story(m *gatewayv1.Message, spans []sdktrace.ReadOnlySpan) *tree.Node {
	root := timeline.Tree(m)
	queries := &tree.Node{Text: "DNS"}
	for _, s := range spans {
		if s.Name() == "dns.query" {
			queries.Add("%s", query(s))
		}
	}
	if len(queries.Children) > 0 {
		root.Children = append([]*tree.Node{queries}, root.Children...)
	}
	return root
}

// query words one DNS query by the attributes of its span: what was asked, how, and what was answered.
func query(s sdktrace.ReadOnlySpan) string {
	attributes := map[attribute.Key]attribute.Value{}
	for _, a := range s.Attributes() {
		attributes[a.Key] = a.Value
	}
	answer := attributes["dns.rcode"].AsString()
	if records := attributes["dns.answers"].AsStringSlice(); len(records) > 0 {
		answer = strings.Join(records, ", ")
	} else if answer == "NOERROR" {
		answer = "no such record"
	}
	took := float64(s.EndTime().Sub(s.StartTime())) / float64(time.Millisecond)
	return fmt.Sprintf("%s %s → %s  (%s, %.1f ms)", attributes["dns.question.name"].AsString(),
		attributes["dns.question.type"].AsString(), answer, attributes["network.transport"].AsString(), took)
}
