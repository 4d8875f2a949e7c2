// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/smtpreply"
)

// TestG16_ErrorCrossesAndComesBack: all but the cause.
func TestG16_ErrorCrossesAndComesBack(t *testing.T) {
	tests := []*Error{
		{
			Code: codes.InvalidArgument, Reason: "ADDRESS_INVALID", Enhanced: smtpreply.Code(5, 1, 3), Message: "two recipients are no addresses",
			Fields: []Field{{"envelope.recipients[0].address", "has no domain"}, {"envelope.recipients[7].address", "has a control character"}},
		},
		{Code: codes.ResourceExhausted, Reason: "QUEUE_FULL", Enhanced: smtpreply.Code(4, 3, 1), Message: "the queue is full", RetryAfter: 1500 * time.Millisecond},
		{Code: codes.NotFound, Reason: "NO_SUCH_MESSAGE", Message: "no such message"},
		{Code: codes.Internal, Reason: ReasonInternal, Message: "internal error"},
	}
	for _, sent := range tests {
		t.Run(sent.Reason, func(t *testing.T) {
			withCause := *sent
			withCause.Err = errors.New("dial tcp 10.0.0.7:4222: refused")
			wire, err := proto.Marshal(withCause.GRPCStatus().Proto())
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(wire), "10.0.0.7") {
				t.Error("the cause crossed")
			}
			got := FromError(withCause.GRPCStatus().Err())
			if !reflect.DeepEqual(got, sent) {
				t.Errorf("sent %+v, got %+v", sent, got)
			}
		})
	}
}

// TestG16_StatusDetails: what a client in another language reads.
func TestG16_StatusDetails(t *testing.T) {
	s := (&Error{
		Code: codes.InvalidArgument, Reason: "MESSAGE_TOO_LARGE", Enhanced: smtpreply.Code(5, 3, 4), Message: "too large",
		Fields: []Field{{"content", "is larger than 50MiB"}}, RetryAfter: time.Second,
	}).GRPCStatus()
	if s.Code() != codes.InvalidArgument || s.Message() != "too large" || len(s.Details()) != 3 {
		t.Fatalf("got %v", s.Proto())
	}
	info, ok := s.Details()[0].(*errdetails.ErrorInfo)
	if !ok || info.GetReason() != "MESSAGE_TOO_LARGE" || info.GetDomain() != "postrider" || info.GetMetadata()["enhanced"] != "5.3.4" {
		t.Errorf("ErrorInfo %v", s.Details()[0])
	}
	bad, ok := s.Details()[1].(*errdetails.BadRequest)
	if !ok || bad.GetFieldViolations()[0].GetField() != "content" {
		t.Errorf("BadRequest %v", s.Details()[1])
	}
	if retry, ok := s.Details()[2].(*errdetails.RetryInfo); !ok || retry.GetRetryDelay().AsDuration() != time.Second {
		t.Errorf("RetryInfo %v", s.Details()[2])
	}
}

func TestError_GapsAreFilled(t *testing.T) {
	s := (&Error{}).GRPCStatus()
	if s.Code() != codes.Internal || s.Message() != "internal error" {
		t.Errorf("an empty error became %v", s)
	}
	got := FromError((&Error{Code: codes.Unavailable}).GRPCStatus().Err())
	if got.Reason != "UNAVAILABLE" || got.Message == "" {
		t.Errorf("got %+v", got)
	}
	dirty := &Error{Code: codes.InvalidArgument, Reason: "A\xff", Message: "b\xff", Fields: []Field{{"c\xff", "d\xff"}}}
	if s := dirty.GRPCStatus(); len(s.Details()) != 2 {
		t.Errorf("bytes that are not UTF-8 cost the details: %v", s.Proto())
	}
}

func TestError_Text(t *testing.T) {
	err := &Error{Code: codes.Unavailable, Reason: "STORE_AWAY", Message: "the store is away", Fields: []Field{{"f", "is bad"}}, Err: io.EOF}
	if got := err.Error(); got != "UNAVAILABLE: STORE_AWAY: the store is away: f is bad: EOF" {
		t.Errorf("got %q", got)
	}
	if !errors.Is(err, io.EOF) || err.CodeWord() != "UNAVAILABLE" {
		t.Error("the cause or the code is lost")
	}
	if got := codeWord(codes.Code(99)); got != "UNKNOWN" {
		t.Errorf("got %q", got)
	}
	for c := codes.OK; c <= codes.Unauthenticated; c++ {
		var parsed codes.Code
		if err := parsed.UnmarshalJSON([]byte(`"` + codeWord(c) + `"`)); err != nil || parsed != c {
			t.Errorf("%d is called %s: %v", c, codeWord(c), err)
		}
	}
}

// TestFromError_OfWhatIsNotOurs: connections that fail, other servers, plain errors.
func TestFromError_OfWhatIsNotOurs(t *testing.T) {
	inner := status.Error(codes.Unavailable, `connection error: desc = "transport: dial tcp 10.0.0.7:4026: refused"`)
	got := FromError(fmt.Errorf("resolve: %w", inner))
	if got.Code != codes.Unavailable || got.Reason != "UNAVAILABLE" || strings.Contains(got.Message, "10.0.0.7") {
		t.Errorf("got %+v", got)
	}
	if !errors.Is(got, inner) {
		t.Error("the original is lost")
	}
	foreign, err := status.New(codes.InvalidArgument, "theirs").WithDetails(&errdetails.ErrorInfo{Reason: "X", Domain: "other.example"})
	if err != nil {
		t.Fatal(err)
	}
	if got := FromError(foreign.Err()); got.Reason != "INVALID_ARGUMENT" || got.Message == "theirs" {
		t.Errorf("another domain's error passed for ours: %+v", got)
	}
	for name, tt := range map[string]struct {
		err  error
		code codes.Code
		is   error
	}{
		"plain":           {io.EOF, codes.Unknown, io.EOF},
		"deadline":        {context.DeadlineExceeded, codes.DeadlineExceeded, context.DeadlineExceeded},
		"deadline status": {status.Error(codes.DeadlineExceeded, "x"), codes.DeadlineExceeded, context.DeadlineExceeded},
		"cancelled":       {fmt.Errorf("x: %w", context.Canceled), codes.Canceled, context.Canceled},
		"server's own deadline": {
			(&Error{Code: codes.DeadlineExceeded, Reason: ReasonDeadline}).GRPCStatus().Err(), codes.DeadlineExceeded, context.DeadlineExceeded,
		},
		"server saw the cancel": {
			(&Error{Code: codes.Canceled, Reason: ReasonCancelled}).GRPCStatus().Err(), codes.Canceled, context.Canceled,
		},
		"cancel status": {status.Error(codes.Canceled, "x"), codes.Canceled, context.Canceled},
	} {
		got := FromError(tt.err)
		if got.Code != tt.code || !errors.Is(got, tt.is) || got.Message == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if FromError(nil) != nil {
		t.Error("nothing became an error")
	}
	own := &Error{Code: codes.NotFound}
	if FromError(fmt.Errorf("x: %w", own)) != own {
		t.Error("an error of ours was made anew")
	}
}

func TestG16_WhatCallersSeeOfOtherErrors(t *testing.T) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancelLate := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancelLate()
	tests := []struct {
		name  string
		ctx   context.Context
		err   error
		code  codes.Code
		known bool
	}{
		{"unknown", context.Background(), errors.New("open /var/lib/x: denied"), codes.Internal, false},
		{"ours", context.Background(), fmt.Errorf("x: %w", &Error{Code: codes.NotFound, Message: "m"}), codes.NotFound, true},
		{"ours, internal", context.Background(), &Error{Code: codes.Internal, Err: io.EOF}, codes.Internal, false},
		{"deadline", context.Background(), fmt.Errorf("x: %w", context.DeadlineExceeded), codes.DeadlineExceeded, true},
		{"cancelled", context.Background(), context.Canceled, codes.Canceled, true},
		{"anything after the caller went", gone, errors.New("x"), codes.Canceled, true},
		{"anything after its time", late, errors.New("x"), codes.DeadlineExceeded, true},
		{"ours after the caller went", gone, &Error{Code: codes.NotFound}, codes.NotFound, true},
		{"no handler", context.Background(), status.Error(codes.Unimplemented, "method X"), codes.Unimplemented, true},
		{"another service's status", context.Background(), status.Error(codes.NotFound, "inner 10.0.0.7"), codes.Internal, false},
		{"another service away", context.Background(), status.Error(codes.Unavailable, "inner 10.0.0.7"), codes.Internal, false},
		{"message over the limit", context.Background(), status.Error(codes.ResourceExhausted, "larger than max"), codes.ResourceExhausted, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, known := toCaller(tt.ctx, tt.err)
			if got.Code != tt.code || known != tt.known {
				t.Errorf("got %+v, known %v", got, known)
			}
			if text := got.GRPCStatus().Proto().String(); strings.Contains(text, "10.0.0.7") || strings.Contains(text, "/var/lib") || strings.Contains(text, "method X") {
				t.Errorf("the inside shows: %s", text)
			}
		})
	}
}
