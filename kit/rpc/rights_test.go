// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
)

func TestServer_TokensAndRights(t *testing.T) {
	rights := map[string]Right{
		dsnv1.DsnService_Preview_FullMethodName:         RightSubmit,
		senderv1.SenderService_ListLanes_FullMethodName: RightAny,
	}
	r := start(t, ServerOptions{Tokens: threeTokens(t), Rights: rights})
	var caller Caller
	r.services.preview = func(ctx context.Context, _ *dsnv1.PreviewRequest) error { caller = CallerFrom(ctx); return nil }
	tests := []struct {
		name, token string
		code        codes.Code
		reason      string
		enhanced    string
		caller      string
	}{
		{"right token", "app-token", codes.OK, "", "", "app"},
		{"another one", "dsn-token", codes.OK, "", "", "dsn"},
		{"no token", "", codes.Unauthenticated, "TOKEN_MISSING", "5.7.0", ""},
		{"wrong token", "guess", codes.Unauthenticated, "TOKEN_INVALID", "5.7.8", ""},
		{"no right", "ops-token", codes.PermissionDenied, "RIGHT_MISSING", "5.7.1", ""},
		{"no rights at all", "idle-token", codes.PermissionDenied, "RIGHT_MISSING", "5.7.1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			caller = Caller{}
			got := r.preview(t, ClientOptions{Token: tt.token})
			if tt.code == codes.OK {
				if got != nil || caller.Name != tt.caller {
					t.Errorf("got %v, caller %+v", got, caller)
				}
				return
			}
			if got == nil || got.Code != tt.code || got.Reason != tt.reason || got.Enhanced.String() != tt.enhanced || got.Message == "" {
				t.Errorf("got %+v", got)
			}
			if caller.Name != "" {
				t.Error("the handler was reached")
			}
		})
	}
	_, err := senderv1.NewSenderServiceClient(r.dial(t, ClientOptions{Token: "idle-token"})).ListLanes(t.Context(), &senderv1.ListLanesRequest{})
	if got := FromError(err); got.Code != codes.Unimplemented {
		t.Errorf("a method for any known caller: %v", got)
	}
	stream, err := senderv1.NewSenderServiceClient(r.dial(t, ClientOptions{Token: "app-token"})).Probe(t.Context(), &senderv1.ProbeRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if got := FromError(err); got.Reason != "RIGHT_MISSING" {
		t.Errorf("a method nobody named needs operator: %v", got)
	}
}

func TestServer_OtherAuthorizationHeaders(t *testing.T) {
	r := start(t, ServerOptions{Tokens: threeTokens(t), DefaultRight: RightAny})
	client := dsnv1.NewDsnServiceClient(r.dial(t, ClientOptions{}))
	for header, reason := range map[string]string{
		"bearer app-token": "", "BEARER  app-token ": "", "Basic app-token": "TOKEN_MISSING", "app-token": "TOKEN_MISSING", "Bearer": "TOKEN_MISSING",
		"Bearer ": "TOKEN_INVALID", "Bearer app-token app-token": "TOKEN_INVALID",
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", header)
		_, err := client.Preview(ctx, &dsnv1.PreviewRequest{})
		if reason == "" && err != nil || reason != "" && (err == nil || FromError(err).Reason != reason) {
			t.Errorf("%q: %v, want %q", header, err, reason)
		}
	}
}

func TestServer_WithoutTokensEverybodyMay(t *testing.T) {
	r := start(t, ServerOptions{})
	var caller Caller
	r.services.preview = func(ctx context.Context, _ *dsnv1.PreviewRequest) error { caller = CallerFrom(ctx); return nil }
	for _, token := range []string{"", "whatever"} {
		if err := r.preview(t, ClientOptions{Token: token}); err != nil {
			t.Errorf("token %q: %v", token, err)
		}
		if caller.Name != "loopback" || !caller.Has(RightOperator) || !caller.Has(RightNullSender) {
			t.Errorf("caller %+v", caller)
		}
	}
}

// TestServer_UnknownCallersCannotSendRequests: the answer comes when the header is there, not the message.
func TestServer_UnknownCallersCannotSendRequests(t *testing.T) {
	r := start(t, ServerOptions{Tokens: threeTokens(t)})
	conn := r.dial(t, ClientOptions{Token: "guess"})
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, dsnv1.DsnService_Preview_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&dsnv1.PreviewResponse{}); FromError(err).Reason != "TOKEN_INVALID" {
		t.Errorf("got %v", err)
	}
}

func TestPipe_CallersAreKnownByTheirOwnTokens(t *testing.T) {
	r := start(t, ServerOptions{Tokens: threeTokens(t), DefaultRight: RightNullSender})
	var caller Caller
	r.services.preview = func(ctx context.Context, _ *dsnv1.PreviewRequest) error { caller = CallerFrom(ctx); return nil }
	inner := r.pipe.Issue("dsn-service", RightSubmit, RightNullSender)
	if err := r.preview(t, ClientOptions{InMemory: r.pipe, Token: inner}); err != nil || caller.Name != "dsn-service" {
		t.Errorf("over the pipe: %v, caller %+v", err, caller)
	}
	for name, tt := range map[string]struct {
		opts   ClientOptions
		reason string
	}{
		"the file's token over the pipe": {ClientOptions{InMemory: r.pipe, Token: "dsn-token"}, "TOKEN_INVALID"},
		"no token over the pipe":         {ClientOptions{InMemory: r.pipe}, "TOKEN_MISSING"},
		"the pipe's token on a socket":   {ClientOptions{Token: inner}, "TOKEN_INVALID"},
		"another pipe's token":           {ClientOptions{InMemory: r.pipe, Token: NewPipe().Issue("x", RightNullSender)}, "TOKEN_INVALID"},
		"too few rights":                 {ClientOptions{InMemory: r.pipe, Token: r.pipe.Issue("y", RightSubmit)}, "RIGHT_MISSING"},
	} {
		if got := r.preview(t, tt.opts); got == nil || got.Reason != tt.reason {
			t.Errorf("%s: %v", name, got)
		}
	}
	// Without a tokens file the socket is open to all, the pipe is not.
	open := start(t, ServerOptions{})
	if got := open.preview(t, ClientOptions{InMemory: open.pipe}); got == nil || got.Reason != "TOKEN_MISSING" {
		t.Errorf("got %v", got)
	}
}
