// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/tap"
)

// unary keeps panics in and maps errors.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			answer, err = nil, s.panicked(ctx, info.FullMethod, cause)
		}
	}()
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
	if err := handler(srv, stream); err != nil {
		return s.mapped(ctx, info.FullMethod, err)
	}
	return nil
}

// admit authenticates the caller, checks the right the method needs and returns the context with the caller. It runs when
// the header of a call has been read, so that nobody unknown can make the server hold a request's bytes. It must not
// block.
func (s *Server) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	right := s.rightOf(info.FullMethodName)
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
	level, cause := slog.LevelError, err
	if known {
		level, cause = slog.LevelDebug, e.Err
	}
	if cause != nil {
		s.opts.Log.LogAttrs(ctx, level, "call failed", slog.String("method", method),
			slog.String("code", e.CodeWord()), slog.String("reason", e.Reason), slog.String("error", cause.Error()))
	}
	return e
}

func (s *Server) panicked(ctx context.Context, method string, cause any) error {
	s.opts.Log.LogAttrs(ctx, slog.LevelError, "handler panicked", slog.String("method", method),
		slog.String("error", fmt.Sprint(cause)), slog.String("stack", string(debug.Stack())))
	return &Error{Code: codes.Internal, Reason: ReasonInternal, Message: neutral(codes.Internal)}
}
