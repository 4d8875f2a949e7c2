// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/kit/telemetry"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
)

// fakeServices are two services whose answers a test decides.
type fakeServices struct {
	dsnv1.UnimplementedDsnServiceServer
	senderv1.UnimplementedSenderServiceServer
	preview func(context.Context, *dsnv1.PreviewRequest) error
	probe   func(grpc.ServerStreamingServer[senderv1.ProbeResponse]) error
}

func (f *fakeServices) Preview(ctx context.Context, req *dsnv1.PreviewRequest) (*dsnv1.PreviewResponse, error) {
	if f.preview != nil {
		if err := f.preview(ctx, req); err != nil {
			return nil, err
		}
	}
	return &dsnv1.PreviewResponse{}, nil
}

func (f *fakeServices) Probe(_ *senderv1.ProbeRequest, stream grpc.ServerStreamingServer[senderv1.ProbeResponse]) error {
	return f.probe(stream)
}

// running is a server on a loopback socket and over a pipe.
type running struct {
	*Server
	services *fakeServices
	addr     string
	pipe     *Pipe
	stop     context.CancelFunc
	ended    chan error
	log      *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

func start(t *testing.T, opts ServerOptions) *running {
	t.Helper()
	r := &running{services: &fakeServices{}, pipe: NewPipe(), ended: make(chan error, 1), log: &syncBuffer{}}
	opts.Log = slog.New(telemetry.LogHandler(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	r.Server = NewServer(opts)
	dsnv1.RegisterDsnServiceServer(r.Server, r.services)
	senderv1.RegisterSenderServiceServer(r.Server, r.services)
	var lc net.ListenConfig
	socket, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = socket.Addr().String()
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() { r.ended <- r.Serve(ctx, socket, r.pipe) }()
	t.Cleanup(func() {
		r.stop()
		if err := <-r.ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		r.ended <- nil
	})
	return r
}

func (r *running) dial(t *testing.T, opts ClientOptions) *grpc.ClientConn {
	t.Helper()
	conn, err := Dial(r.addr, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (r *running) preview(t *testing.T, opts ClientOptions) *Error {
	t.Helper()
	_, err := dsnv1.NewDsnServiceClient(r.dial(t, opts)).Preview(t.Context(), &dsnv1.PreviewRequest{})
	return FromError(err)
}

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

func TestG16_ErrorsOfHandlers(t *testing.T) {
	r := start(t, ServerOptions{})
	want := &Error{
		Code: codes.InvalidArgument, Reason: "ADDRESS_INVALID", Enhanced: smtpreply.Code(5, 1, 3), Message: "no address",
		Fields: []Field{{"envelope.sender", "has no domain"}},
	}
	var answer error
	r.services.preview = func(context.Context, *dsnv1.PreviewRequest) error { return answer }
	r.services.probe = func(grpc.ServerStreamingServer[senderv1.ProbeResponse]) error { return answer }
	client := senderv1.NewSenderServiceClient(r.dial(t, ClientOptions{}))
	calls := map[string]func() *Error{
		"unary": func() *Error { return r.preview(t, ClientOptions{}) },
		"stream": func() *Error {
			stream, err := client.Probe(t.Context(), &senderv1.ProbeRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			return FromError(err)
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			answer = want
			if got := call(); got == nil || got.Error() != want.Error() || len(got.Fields) != 1 {
				t.Errorf("got %+v", got)
			}
			answer = errors.New("open /secret/place: denied")
			if got := call(); got == nil || got.Code != codes.Internal || got.Reason != "INTERNAL" || got.Message != "internal error" {
				t.Errorf("got %+v", got)
			}
			answer = &Error{Code: codes.Unavailable, Reason: "STORE_AWAY", Message: "the store is away", Err: errors.New("nats 10.0.0.7")}
			if got := call(); got == nil || got.Reason != "STORE_AWAY" || strings.Contains(got.Error(), "10.0.0.7") {
				t.Errorf("got %+v", got)
			}
		})
	}
	for _, want := range []string{`"error":"open /secret/place: denied"`, `"level":"DEBUG","msg":"call failed"`, "nats 10.0.0.7"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("not logged: %s\n%s", want, r.log.String())
		}
	}
}

func TestServer_SurvivesPanics(t *testing.T) {
	r := start(t, ServerOptions{})
	r.services.preview = func(context.Context, *dsnv1.PreviewRequest) error { panic("secret state") }
	r.services.probe = func(grpc.ServerStreamingServer[senderv1.ProbeResponse]) error { panic(errors.New("secret state")) }
	got := r.preview(t, ClientOptions{})
	if got == nil || got.Code != codes.Internal || strings.Contains(got.Error(), "secret") {
		t.Errorf("got %+v", got)
	}
	stream, err := senderv1.NewSenderServiceClient(r.dial(t, ClientOptions{})).Probe(t.Context(), &senderv1.ProbeRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if got := FromError(err); got.Code != codes.Internal {
		t.Errorf("got %+v", got)
	}
	r.services.preview = nil
	if err := r.preview(t, ClientOptions{}); err != nil {
		t.Errorf("after the panic: %v", err)
	}
	if n := strings.Count(r.log.String(), "handler panicked"); n != 2 || !strings.Contains(r.log.String(), "secret state") {
		t.Errorf("%d panics in the log", n)
	}
}

func TestG06_MessagesOverTheLimit(t *testing.T) {
	r := start(t, ServerOptions{})
	client := dsnv1.NewDsnServiceClient(r.dial(t, ClientOptions{}))
	// A message of 4 MiB reaches the handler, whose typed error comes first.
	r.services.preview = func(_ context.Context, req *dsnv1.PreviewRequest) error {
		return &Error{Code: codes.InvalidArgument, Reason: "MESSAGE_TOO_LARGE", Message: "too large"}
	}
	_, err := client.Preview(t.Context(), &dsnv1.PreviewRequest{Original: make([]byte, 4<<20+1000)})
	if got := FromError(err); got == nil || got.Reason != "MESSAGE_TOO_LARGE" {
		t.Errorf("got %v", got)
	}
	_, err = client.Preview(t.Context(), &dsnv1.PreviewRequest{Original: make([]byte, DefaultMaxReceive+1)})
	if got := FromError(err); got == nil || got.Code != codes.ResourceExhausted {
		t.Errorf("got %v", got)
	}
	// The answers of a server are bounded as well.
	r.services.probe = func(s grpc.ServerStreamingServer[senderv1.ProbeResponse]) error {
		return s.Send(&senderv1.ProbeResponse{Text: strings.Repeat("x", 2000)})
	}
	stream, err := senderv1.NewSenderServiceClient(r.dial(t, ClientOptions{MaxReceive: 1000})).Probe(t.Context(), &senderv1.ProbeRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if got := FromError(err); got.Code != codes.ResourceExhausted {
		t.Errorf("got %v", got)
	}
}

func TestServer_HealthAndReflectionNeedNoRight(t *testing.T) {
	r := start(t, ServerOptions{Tokens: threeTokens(t)})
	health := healthv1.NewHealthClient(r.dial(t, ClientOptions{}))
	check := func(service string) healthv1.HealthCheckResponse_ServingStatus {
		answer, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatalf("health of %q: %v", service, err)
		}
		return answer.GetStatus()
	}
	if got := check(""); got != healthv1.HealthCheckResponse_NOT_SERVING || r.Serving() {
		t.Errorf("before it is ready: %v", got)
	}
	r.SetServing("", true)
	r.SetServing("postrider.dsn.v1.DsnService", true)
	if check("") != healthv1.HealthCheckResponse_SERVING || check("postrider.dsn.v1.DsnService") != healthv1.HealthCheckResponse_SERVING || !r.Serving() {
		t.Error("not serving")
	}
	r.SetServing("", false)
	if check("") != healthv1.HealthCheckResponse_NOT_SERVING || r.Serving() {
		t.Error("serving")
	}
	list := func(token string) (*reflectionv1.ServerReflectionResponse, error) {
		stream, err := reflectionv1.NewServerReflectionClient(r.dial(t, ClientOptions{Token: token})).ServerReflectionInfo(t.Context())
		if err != nil {
			return nil, err
		}
		// An error of Send is told by Recv.
		_ = stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
		return stream.Recv()
	}
	answer, err := list("idle-token")
	if err != nil || !strings.Contains(answer.String(), "postrider.dsn.v1.DsnService") {
		t.Errorf("reflection for a known caller: %v %v", answer, err)
	}
	if _, err := list(""); FromError(err) == nil || FromError(err).Reason != "TOKEN_MISSING" {
		t.Errorf("reflection for nobody: %v", err)
	}
	if got := strings.Join(r.Services(), " "); got != "postrider.dsn.v1.DsnService postrider.sender.v1.SenderService" {
		t.Errorf("services %s", got)
	}
}

func TestServer_SetRight(t *testing.T) {
	given := map[string]Right{"/a/B": RightAny}
	s := NewServer(ServerOptions{Rights: given})
	s.SetRight("/a/C", RightSubmit)
	s.SetRight("/a/B", RightNone)
	if s.rightOf("/a/B") != RightNone || s.rightOf("/a/C") != RightSubmit || s.rightOf("/a/D") != RightOperator {
		t.Errorf("rights %v", s.opts.Rights)
	}
	if len(given) != 1 || given["/a/B"] != RightAny {
		t.Error("the caller's map was changed")
	}
}

// TestServer_DrainsThenCuts: calls under way end, those that do not are cut off, and nobody new comes in.
func TestServer_DrainsThenCuts(t *testing.T) {
	r := start(t, ServerOptions{Drain: 300 * time.Millisecond})
	inside, release := make(chan struct{}, 2), make(chan struct{})
	r.services.preview = func(context.Context, *dsnv1.PreviewRequest) error { inside <- struct{}{}; <-release; return nil }
	r.services.probe = func(s grpc.ServerStreamingServer[senderv1.ProbeResponse]) error {
		inside <- struct{}{}
		<-s.Context().Done()
		return s.Context().Err()
	}
	r.SetServing("", true)
	conn := r.dial(t, ClientOptions{})
	finished := make(chan error, 1)
	go func() {
		_, err := dsnv1.NewDsnServiceClient(conn).Preview(context.Background(), &dsnv1.PreviewRequest{})
		finished <- err
	}()
	stream, err := senderv1.NewSenderServiceClient(conn).Probe(t.Context(), &senderv1.ProbeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	<-inside
	<-inside
	r.stop()
	close(release)
	if err := <-finished; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if _, err := stream.Recv(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the endless stream: %v", err)
	}
	if err := <-r.ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	r.ended <- nil
	if r.Serving() {
		t.Error("still serving")
	}
	if got := r.preview(t, ClientOptions{}); got == nil || got.Code != codes.Unavailable {
		t.Errorf("after the end: %v", got)
	}
}

func TestServer_ServeTellsOfABrokenListener(t *testing.T) {
	var lc net.ListenConfig
	socket, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := socket.Close(); err != nil {
		t.Fatal(err)
	}
	if err := NewServer(ServerOptions{}).Serve(t.Context(), socket); err == nil || !strings.Contains(err.Error(), "serve gRPC on 127.0.0.1") {
		t.Errorf("got %v", err)
	}
}

// TestO01_TraceGoesThroughTheCall: the handler's span is under the caller's, health makes none, and an error is logged
// with the trace id.
func TestO01_TraceGoesThroughTheCall(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	r := start(t, ServerOptions{Tracer: provider})
	var inHandler trace.SpanContext
	r.services.preview = func(ctx context.Context, _ *dsnv1.PreviewRequest) error {
		inHandler = trace.SpanContextFromContext(ctx)
		return errors.New("broken")
	}
	conn := r.dial(t, ClientOptions{Tracer: provider})
	ctx, root := provider.Tracer("test").Start(t.Context(), "caller")
	if _, err := dsnv1.NewDsnServiceClient(conn).Preview(ctx, &dsnv1.PreviewRequest{Outcome: &eventv1.Outcome{}}); err == nil {
		t.Fatal("no error")
	}
	root.End()
	if _, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	if inHandler.TraceID() != root.SpanContext().TraceID() {
		t.Errorf("the handler's trace is %s, the caller's %s", inHandler.TraceID(), root.SpanContext().TraceID())
	}
	r.stop()
	<-r.ended
	r.ended <- nil
	if n := len(spans.Ended()); n != 3 {
		t.Errorf("%d spans, want caller, client and server", n)
	}
	line := map[string]any{}
	if err := json.Unmarshal([]byte(strings.SplitN(r.log.String(), "\n", 2)[0]), &line); err != nil {
		t.Fatalf("%v in %q", err, r.log.String())
	}
	if line["trace_id"] != root.SpanContext().TraceID().String() || line["error"] != "broken" {
		t.Errorf("logged %v", line)
	}
}
