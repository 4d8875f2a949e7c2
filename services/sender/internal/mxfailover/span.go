// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// begin starts the span sender.try_host; nil when the attempt's span does not record.
func (a *attempt) begin(ctx context.Context, c *candidate) (context.Context, trace.Span) {
	if a.w.Tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, nil
	}
	ctx, span := a.w.Tracer.Start(ctx, "sender.try_host", trace.WithSpanKind(trace.SpanKindClient))
	span.SetAttributes(
		attribute.String("server.address", a.hostName(c.host)),
		attribute.Int("mail.mx.preference", int(c.of.GetPreference())))
	if c.address.IsValid() {
		span.SetAttributes(
			attribute.String("network.peer.address", c.address.Addr().String()),
			attribute.Int("network.peer.port", int(c.address.Port())))
	}
	return ctx, span
}

// endTry ends it with why the host was left, what came next, and what was said in a failed session.
func endTry(span trace.Span, record *eventv1.HostTry, m *smtpclient.Message, fail *smtpreply.Error) {
	if span == nil {
		return
	}
	span.SetAttributes(attribute.String("mail.left_for", record.GetLeftFor()))
	if t := record.GetTls(); t.GetVersion() != "" {
		span.SetAttributes(
			attribute.String("tls.protocol.version", t.GetVersion()), attribute.Bool("mail.tls.verified", t.GetVerified()))
	}
	if fail != nil {
		span.SetAttributes(smtpclient.FailureAttributes(fail)...)
		span.SetStatus(codes.Error, string(fail.Reason))
	}
	tellTranscript(span, record.GetTranscript(), m)
	span.End()
}
