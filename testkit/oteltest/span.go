// SPDX-License-Identifier: Apache-2.0

package oteltest

import (
	"encoding/hex"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Span is a finished span. Ids are lower-case hexadecimal, as in traceparent; times are those of the sender.
type Span struct {
	TraceID    string
	SpanID     string
	ParentID   string // empty: a root
	TraceState string
	Remote     bool // the parent is in another process

	Name  string
	Kind  string // internal, server, client, producer, consumer
	Start time.Time
	End   time.Time

	Attributes map[string]any // string, bool, int64, float64, []byte, []any, map[string]any
	Events     []Event
	Links      []Link
	Status     string // unset, ok, error
	Message    string // of the status

	Scope    string         // instrumentation scope
	Resource map[string]any // attributes of the resource, such as service.name
}

// Event is something that happened during a span.
type Event struct {
	Name       string
	At         time.Time
	Attributes map[string]any
}

// Link points to another span.
type Link struct {
	TraceID    string
	SpanID     string
	Attributes map[string]any
}

// Duration is the time from start to end.
func (s Span) Duration() time.Duration { return s.End.Sub(s.Start) }

// Service is the service.name of the resource, "" without one.
func (s Span) Service() string { return s.resourceString("service.name") }

func (s Span) resourceString(key string) string {
	v, _ := s.Resource[key].(string)
	return v
}

// Str gives a string attribute, "" when it is missing or of another type.
func (s Span) Str(key string) string {
	v, _ := s.Attributes[key].(string)
	return v
}

// Int gives an integer attribute, 0 when it is missing or of another type.
func (s Span) Int(key string) int64 {
	v, _ := s.Attributes[key].(int64)
	return v
}

// Bool gives a boolean attribute, false when it is missing or of another type.
func (s Span) Bool(key string) bool {
	v, _ := s.Attributes[key].(bool)
	return v
}

// flags of a span or link (opentelemetry/proto/trace/v1: SpanFlags).
const (
	flagKnowsRemote = 0x100
	flagRemote      = 0x200
)

func newSpan(p *tracepb.Span, scope *commonpb.InstrumentationScope, res *resourcepb.Resource) Span {
	s := Span{
		TraceID: hex.EncodeToString(p.GetTraceId()), SpanID: hex.EncodeToString(p.GetSpanId()),
		ParentID: hex.EncodeToString(p.GetParentSpanId()), TraceState: p.GetTraceState(),
		Remote: p.GetFlags()&flagKnowsRemote != 0 && p.GetFlags()&flagRemote != 0,
		Name:   p.GetName(), Kind: kindName(p.GetKind()),
		Start: moment(p.GetStartTimeUnixNano()), End: moment(p.GetEndTimeUnixNano()),
		Attributes: attributes(p.GetAttributes()),
		Status:     statusName(p.GetStatus().GetCode()), Message: p.GetStatus().GetMessage(),
		Scope: scope.GetName(), Resource: attributes(res.GetAttributes()),
	}
	for _, e := range p.GetEvents() {
		s.Events = append(s.Events, Event{
			Name: e.GetName(), At: moment(e.GetTimeUnixNano()), Attributes: attributes(e.GetAttributes()),
		})
	}
	for _, l := range p.GetLinks() {
		s.Links = append(s.Links, Link{
			TraceID: hex.EncodeToString(l.GetTraceId()), SpanID: hex.EncodeToString(l.GetSpanId()),
			Attributes: attributes(l.GetAttributes()),
		})
	}
	return s
}

func moment(ns uint64) time.Time { return time.Unix(0, int64(ns)) }

func kindName(k tracepb.Span_SpanKind) string {
	switch k {
	case tracepb.Span_SPAN_KIND_SERVER:
		return "server"
	case tracepb.Span_SPAN_KIND_CLIENT:
		return "client"
	case tracepb.Span_SPAN_KIND_PRODUCER:
		return "producer"
	case tracepb.Span_SPAN_KIND_CONSUMER:
		return "consumer"
	default:
		return "internal"
	}
}

func statusName(c tracepb.Status_StatusCode) string {
	switch c {
	case tracepb.Status_STATUS_CODE_OK:
		return "ok"
	case tracepb.Status_STATUS_CODE_ERROR:
		return "error"
	default:
		return "unset"
	}
}

func attributes(kvs []*commonpb.KeyValue) map[string]any {
	m := make(map[string]any, len(kvs))
	for _, kv := range kvs {
		m[kv.GetKey()] = value(kv.GetValue())
	}
	return m
}

func value(v *commonpb.AnyValue) any {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_BoolValue:
		return v.BoolValue
	case *commonpb.AnyValue_IntValue:
		return v.IntValue
	case *commonpb.AnyValue_DoubleValue:
		return v.DoubleValue
	case *commonpb.AnyValue_BytesValue:
		return v.BytesValue
	case *commonpb.AnyValue_ArrayValue:
		all := make([]any, 0, len(v.ArrayValue.GetValues()))
		for _, one := range v.ArrayValue.GetValues() {
			all = append(all, value(one))
		}
		return all
	case *commonpb.AnyValue_KvlistValue:
		return attributes(v.KvlistValue.GetValues())
	default:
		return nil
	}
}
