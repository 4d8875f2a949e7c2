// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/postrider/postrider/kit/smtpreply"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
)

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
