// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/kit/smtpreply"
)

// step is the span of one phase. The zero value records nothing.
type step struct{ span trace.Span }

// begin starts the span of a phase under that of ctx. Nothing is started when that one does not record.
func (c *Conn) begin(ctx context.Context, name string) step {
	if c.o.Tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return step{}
	}
	_, span := c.o.Tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
	return step{span: span}
}

// end ends the span with the reply code that settled the phase (0: none) and its failure. Only the first call counts.
func (s *step) end(code int, fail *smtpreply.Error, more ...attribute.KeyValue) {
	if s.span == nil {
		return
	}
	if fail != nil && fail.Code != 0 {
		code = fail.Code
	}
	if code != 0 {
		s.span.SetAttributes(attribute.Int("smtp.reply.code", code))
	}
	s.span.SetAttributes(more...)
	if fail != nil {
		s.span.SetAttributes(FailureAttributes(fail)...)
		s.span.SetStatus(codes.Error, string(fail.Reason))
	}
	s.span.End()
	s.span = nil
}

// FailureAttributes are the span attributes of a failure: stage, reply codes, recorded status, reason. They hold no
// text of the remote, which may name people.
func FailureAttributes(e *smtpreply.Error) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 5)
	attrs = append(attrs,
		attribute.String("smtp.stage", e.Stage.String()),
		attribute.String("smtp.reply.enhanced", e.RecordedStatus().String()),
		attribute.String("error.type", errorType(e)))
	if e.Code != 0 {
		attrs = append(attrs, attribute.Int("smtp.reply.code", e.Code))
	}
	if word := e.Word(); word != "" {
		attrs = append(attrs, attribute.String("mail.reason", string(word)))
	}
	return attrs
}

// errorType is the low-cardinality word for a failure.
func errorType(e *smtpreply.Error) string {
	if e.Reason != "" {
		return string(e.Reason)
	}
	return "reply_" + string(rune('0'+e.Code/100)) + "xx"
}
