// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
)

// unary checks the caller, keeps panics in and maps errors.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			answer, err = nil, s.panicked(ctx, info.FullMethod, cause)
		}
	}()
	ctx, err = s.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	answer, err = handler(ctx, req)
	if err != nil {
		return nil, s.mapped(ctx, info.FullMethod, err)
	}
	return answer, nil
}

// stream is unary for streams.
func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx := stream.Context()
	defer func() {
		if cause := recover(); cause != nil {
			err = s.panicked(ctx, info.FullMethod, cause)
		}
	}()
	ctx, err = s.admit(ctx, info.FullMethod)
	if err != nil {
		return err
	}
	if err := handler(srv, callerStream{ServerStream: stream, ctx: ctx}); err != nil {
		return s.mapped(ctx, info.FullMethod, err)
	}
	return nil
}

// callerStream is a stream whose context carries the caller.
type callerStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns the context with the caller (grpc.ServerStream).
func (s callerStream) Context() context.Context { return s.ctx }

// admit authenticates the caller, checks the right the method needs and returns the context with the caller.
func (s *Server) admit(ctx context.Context, method string) (context.Context, error) {
	right := s.rightOf(method)
	if right == RightNone {
		return ctx, nil
	}
	caller, err := authenticate(ctx, s.opts.Tokens)
	if err == nil {
		err = authorize(caller, right)
	}
	if err != nil {
		return ctx, err
	}
	return WithCaller(ctx, caller), nil
}

// rightOf returns the right a method needs. Health is open, since who probes it has no token; reflection is for every
// known caller.
func (s *Server) rightOf(method string) Right {
	if right, set := s.opts.Rights[method]; set {
		return right
	}
	switch {
	case strings.HasPrefix(method, "/grpc.health."):
		return RightNone
	case strings.HasPrefix(method, "/grpc.reflection."):
		return RightAny
	}
	return s.opts.DefaultRight
}

// mapped turns a handler's error into what the caller may see and logs what it may not.
func (s *Server) mapped(ctx context.Context, method string, err error) error {
	e, known := toCaller(ctx, err)
	if !known {
		s.opts.Log.LogAttrs(ctx, slog.LevelError, "call failed", slog.String("method", method),
			slog.String("error", err.Error()), slog.String("trace_id", traceID(ctx)))
	}
	return e
}

func (s *Server) panicked(ctx context.Context, method string, cause any) error {
	s.opts.Log.LogAttrs(ctx, slog.LevelError, "handler panicked", slog.String("method", method),
		slog.String("error", fmt.Sprint(cause)), slog.String("trace_id", traceID(ctx)),
		slog.String("stack", string(debug.Stack())))
	e, _ := toCaller(context.Background(), fmt.Errorf("panic: %v", cause))
	return e
}

func traceID(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		return sc.TraceID().String()
	}
	return ""
}
