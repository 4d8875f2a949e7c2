// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/resolver/internal/route"
	"github.com/postrider/postrider/services/resolver/internal/servercheck"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
)

// ResolveRoute implements resolverv1.ResolverServiceServer. What is wrong with a domain is an answer, not an error.
func (s *service) ResolveRoute(ctx context.Context, in *resolverv1.ResolveRouteRequest) (*resolverv1.ResolveRouteResponse, error) {
	if in.GetDomain() == "" {
		return nil, &rpc.Error{
			Code: codes.InvalidArgument, Reason: "DOMAIN_MISSING", Message: "A domain or an address literal is needed.",
			Fields: []rpc.Field{{Field: "domain", Description: "is empty"}},
		}
	}
	out, err := s.router.Resolve(ctx, route.Request{
		Domain: in.GetDomain(), Smarthost: in.GetSmarthost(), Fresh: in.GetBypassCache(), AnyTLS: in.GetIgnoreTlsPolicy(),
	})
	if fault, ok := errors.AsType[*route.SmarthostError](err); ok {
		out = badSmarthost(in.GetDomain(), fault)
	} else if err != nil {
		return nil, fmt.Errorf("route: %w", err)
	}
	if out.GetFailure() != nil {
		s.meters.noRoute(ctx, out.GetFailure().GetReason())
	}
	if s.health.Trouble() {
		out.Warnings = append(slices.Clone(out.GetWarnings()), s.troubles()...)
	}
	describe(trace.SpanFromContext(ctx), out)
	return out, nil
}

// badSmarthost is the answer to a smarthost that is none. The fault is in a configuration, so the mail waits for it.
func badSmarthost(domain string, fault *route.SmarthostError) *resolverv1.ResolveRouteResponse {
	failure := &smtpreply.Error{
		Stage: smtpreply.StageResolve, Reason: smtpreply.ReasonBadDomain, Status: smtpreply.Code(4, 3, 5),
		Detail: "The configured smarthost cannot be used: " + fault.Problem + ".",
	}
	return &resolverv1.ResolveRouteResponse{Domain: domain, Failure: failure.Proto(), CacheAge: &durationpb.Duration{}}
}

// describe adds the route to the span of the call.
func describe(span trace.Span, r *resolverv1.ResolveRouteResponse) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		attribute.String("dns.question.name", r.GetDomain()),
		attribute.String("mail.site", r.GetSite()),
		attribute.Int("mail.hosts", len(r.GetHosts())),
		attribute.Int64("dns.cache_age_ms", r.GetCacheAge().AsDuration().Milliseconds()),
	)
	if len(r.GetWarnings()) > 0 {
		span.SetAttributes(attribute.StringSlice("mail.warnings", r.GetWarnings()))
	}
	if f := r.GetFailure(); f != nil {
		span.SetAttributes(attribute.String("mail.reason", f.GetReason()), attribute.String("error.type", f.GetReason()))
	}
}

// CheckServers implements resolverv1.ResolverServiceServer.
func (s *service) CheckServers(ctx context.Context, in *resolverv1.CheckServersRequest) (*resolverv1.CheckServersResponse, error) {
	checker := s.monitor.checker
	if in.GetName() != "" {
		name, err := mailaddr.ToASCII(strings.TrimSuffix(in.GetName(), "."))
		if err != nil {
			return nil, &rpc.Error{
				Code: codes.InvalidArgument, Reason: "BAD_NAME", Message: "The name is no domain name.",
				Fields: []rpc.Field{{Field: "name", Description: err.Error()}}, Err: err,
			}
		}
		checker.Name = name
	}
	out := &resolverv1.CheckServersResponse{Servers: make([]*resolverv1.ServerCheck, len(s.monitor.servers))}
	var wg sync.WaitGroup
	for i, server := range s.monitor.servers {
		wg.Go(func() {
			probes, _ := s.monitor.check(ctx, server, checker)
			out.Servers[i] = &resolverv1.ServerCheck{Server: server.String(), Probes: probesProto(probes)}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for i, status := range s.health.Status() {
		if since := failingSince(status); !since.IsZero() {
			out.Servers[i].FailingSince = timestamppb.New(since)
		}
	}
	return out, nil
}

// failingSince is the earliest time at which a part of a server began to fail.
func failingSince(s serverhealth.Status) time.Time {
	var earliest time.Time
	for _, part := range []serverhealth.Standing{s.Whole, s.UDP, s.TCP} {
		if part.Failing() && (earliest.IsZero() || part.Since.Before(earliest)) {
			earliest = part.Since
		}
	}
	return earliest
}

func probesProto(probes []servercheck.Probe) []*resolverv1.Probe {
	all := make([]*resolverv1.Probe, 0, len(probes))
	for _, p := range probes {
		all = append(all, &resolverv1.Probe{
			Transport: string(p.Transport), Probe: p.Name, Result: resultProto(p.Result),
			Duration: durationpb.New(p.Took), Detail: p.Detail,
		})
	}
	return all
}

func resultProto(r servercheck.Result) resolverv1.ProbeResult {
	switch r {
	case servercheck.OK:
		return resolverv1.ProbeResult_PROBE_RESULT_OK
	case servercheck.Refused:
		return resolverv1.ProbeResult_PROBE_RESULT_REFUSED
	case servercheck.Reset:
		return resolverv1.ProbeResult_PROBE_RESULT_RESET
	case servercheck.Timeout:
		return resolverv1.ProbeResult_PROBE_RESULT_TIMEOUT
	case servercheck.Denied:
		return resolverv1.ProbeResult_PROBE_RESULT_DENIED
	default:
		return resolverv1.ProbeResult_PROBE_RESULT_MALFORMED
	}
}

// FlushCache implements resolverv1.ResolverServiceServer. Remembered failures and finished routes go as well.
func (s *service) FlushCache(_ context.Context, in *resolverv1.FlushCacheRequest) (*resolverv1.FlushCacheResponse, error) {
	name := strings.ToLower(strings.TrimSuffix(in.GetName(), "."))
	if ascii, err := mailaddr.ToASCII(name); err == nil {
		name = ascii
	}
	flushed := s.cache.Flush(name)
	s.exchange.Forget(name)
	s.router.Flush()
	return &resolverv1.FlushCacheResponse{Flushed: uint32(flushed)}, nil
}
