// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/dnswire"
)

// sending is how one query is sent, and why.
type sending struct {
	edns bool
	cd   bool
	why  string
}

// send is one query on the wire: a span, a metric, and the judgement what its message is worth.
func (l *leg) send(ctx context.Context, how sending) reply {
	x, s := l.ask.x, l.ask.server
	began := time.Now()
	ctx, span := l.span(ctx, how)
	query := dnswire.Query{Question: l.ask.q, EDNS: how.edns, CheckingDisabled: how.cd}
	message, err := dnstransport.Ask(ctx, l.transport, s.addr, query, x.o.Timeouts.TCPConnect)
	r := reply{transport: l.transport, message: message}
	var failed *dnstransport.Error
	switch {
	case errors.As(err, &failed):
		r.result = failed.Result
	default:
		r.result = s.judge(message, how)
	}
	x.o.Observe(Sent{Server: s.addr, Transport: l.transport, Result: r.result, Took: time.Since(began)})
	endSpan(span, r)
	return r
}

// judge adds to the message what only the memory of the server can tell.
func (s *server) judge(m *dnswire.Message, how sending) dnsquery.Result {
	switch {
	case m.Result != dnsquery.ResultAnswered:
		return m.Result
	case m.Loop:
		return dnsquery.ResultLoop
	case m.Unproven && !s.proven.Load():
		return dnsquery.ResultLame
	case !m.Unproven && !how.cd:
		s.proven.Store(true)
	}
	// Without EDNS0 there is no DO bit and so nothing was validated for us.
	m.Answer.Secure = m.AuthenticData && s.trusted && how.edns && !how.cd
	return dnsquery.ResultAnswered
}

// span begins a dns.query span when the caller's trace is recorded.
func (l *leg) span(ctx context.Context, how sending) (context.Context, trace.Span) {
	tracer := l.ask.x.o.Tracer
	if tracer == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, nil
	}
	server := l.ask.server.addr
	return tracer.Start(ctx, "dns.query", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("dns.question.name", l.ask.q.Name),
		attribute.String("dns.question.type", l.ask.q.Type.String()),
		attribute.String("server.address", server.Addr().String()),
		attribute.Int("server.port", int(server.Port())),
		attribute.String("network.transport", string(l.transport)),
		attribute.Bool("dns.edns", how.edns),
		attribute.String("dns.why", how.why),
	))
}

func endSpan(span trace.Span, r reply) {
	if span == nil {
		return
	}
	span.SetAttributes(attribute.String("dns.result", string(r.result)))
	if m := r.message; m != nil {
		span.SetAttributes(attribute.String("dns.rcode", m.RcodeName()))
		if m.Answer != nil {
			span.SetAttributes(attribute.StringSlice("dns.answers", m.Answer.Texts()))
		}
		if m.EDNSError >= 0 {
			span.SetAttributes(attribute.Int("dns.extended_error", m.EDNSError))
		}
	}
	if r.result != dnsquery.ResultAnswered {
		span.SetAttributes(attribute.String("error.type", string(r.result)))
		span.SetStatus(codes.Error, string(r.result))
	}
	span.End()
}
