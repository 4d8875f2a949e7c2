// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"
	"go.opentelemetry.io/otel/metric/noop"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/bustest"
)

// childVariable makes the test binary the service itself, so that it can be killed.
const childVariable = "POSTRIDER_DSN_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		runner.Main("dsn", Default(), New) // ends the process
	}
	goleak.VerifyTestMain(m, bustest.LeakOptions()...)
}

const patience = time.Minute

// gateway is a real gRPC server with tokens that takes mail as the gateway does: the same key and content is the same
// message, other content under a key is refused.
type gateway struct {
	gatewayv1.UnimplementedMailServiceServer

	mu    sync.Mutex
	calls []*gatewayv1.SubmitRequest
	taken map[string]*accepted
	order []string
	goals []goal
	// before may answer a call before it is looked at, after may replace the answer of one that was taken.
	before, after func(n int, request *gatewayv1.SubmitRequest) error
}

type accepted struct {
	id      string
	request *gatewayv1.SubmitRequest
}

func newGateway() *gateway {
	return &gateway{taken: map[string]*accepted{}}
}

func (g *gateway) Submit(ctx context.Context, request *gatewayv1.SubmitRequest) (*gatewayv1.SubmitResponse, error) {
	n, before, after := g.note(request)
	if before != nil {
		if err := before(n, request); err != nil {
			return nil, err
		}
	}
	envelope := request.GetEnvelope()
	if envelope.GetSender() == "" && !rpc.CallerFrom(ctx).Has(rpc.RightNullSender) {
		return nil, &rpc.Error{Code: codes.PermissionDenied, Reason: "RIGHT_MISSING"}
	}
	answer, err := g.take(request)
	if err == nil && after != nil {
		err = after(n, request)
	}
	if err != nil {
		return nil, err
	}
	return &gatewayv1.SubmitResponse{Accepted: answer}, nil
}

func (g *gateway) note(request *gatewayv1.SubmitRequest) (n int, before, after func(int, *gatewayv1.SubmitRequest) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, request)
	return len(g.calls), g.before, g.after
}

func (g *gateway) take(request *gatewayv1.SubmitRequest) (*gatewayv1.Accepted, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := request.GetEnvelope().GetIdempotencyKey()
	known, duplicate := g.taken[key]
	if duplicate && !bytes.Equal(known.request.GetContent(), request.GetContent()) {
		return nil, &rpc.Error{Code: codes.AlreadyExists, Reason: "KEY_REUSED"}
	}
	if !duplicate {
		known = &accepted{id: ulid.Make().String(), request: request}
		g.taken[key] = known
		g.order = append(g.order, key)
		g.goals = slices.DeleteFunc(g.goals, func(wait goal) bool {
			if len(g.order) < wait.n {
				return false
			}
			close(wait.done)
			return true
		})
	}
	return &gatewayv1.Accepted{MessageId: known.id, Duplicate: duplicate}, nil
}

// hook sets what happens before and after a call is taken.
func (g *gateway) hook(before, after func(n int, request *gatewayv1.SubmitRequest) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.before, g.after = before, after
}

func (g *gateway) keys() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.order)
}

func (g *gateway) callCount() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.calls)
}

func (g *gateway) request(key string) *gatewayv1.SubmitRequest {
	g.mu.Lock()
	defer g.mu.Unlock()
	if known := g.taken[key]; known != nil {
		return known.request
	}
	return nil
}

// await waits until n different notifications were taken.
func (g *gateway) await(t *testing.T, n int) []string {
	t.Helper()
	select {
	case <-g.reached(n):
		return g.keys()
	case <-time.After(patience):
		t.Fatalf("%d notifications taken, want %d", len(g.keys()), n)
		return nil
	}
}

// reached is closed once n different notifications were taken.
func (g *gateway) reached(n int) <-chan struct{} {
	done := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.order) >= n {
		close(done)
	} else {
		g.goals = append(g.goals, goal{n, done})
	}
	return done
}

// goal is a number of notifications somebody waits for.
type goal struct {
	n    int
	done chan struct{}
}

// serve starts the gRPC server on an address and returns what stops it.
func (g *gateway) serve(t *testing.T, addr string, tracer *sdktrace.TracerProvider, tokens *rpc.Tokens) (string, func()) {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := rpc.NewServer(rpc.ServerOptions{
		Tokens: tokens, Tracer: tracer, Drain: time.Second,
		Rights: map[string]rpc.Right{gatewayv1.MailService_Submit_FullMethodName: rpc.RightSubmit},
	})
	gatewayv1.RegisterMailServiceServer(s, g)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.Serve(ctx, listener); err != nil {
			t.Errorf("gateway: %v", err)
		}
	})
	stop := sync.OnceFunc(func() { cancel(); done.Wait() })
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

// world is everything around the service: store, gateway, token, spans, log.
type world struct {
	t         *testing.T
	nats      *bustest.Server
	js        jetstream.JetStream
	cursors   *bus.Cursors
	gateway   *gateway
	address   string
	stopMail  func()
	tokens    *rpc.Tokens
	tokenFile string
	spans     *tracetest.SpanRecorder
	tracer    *sdktrace.TracerProvider
	log       *lockedBuffer
	layout    bus.Layout
	appended  int
	settings  string // further settings of a process: "key: value"
}

func newWorld(t *testing.T, partitions int, change ...func(*bustest.Options)) *world {
	t.Helper()
	w := &world{
		t: t, gateway: newGateway(), spans: tracetest.NewSpanRecorder(), log: &lockedBuffer{},
		settings: "throttle: {per_recipient: 1000000, per_sender: 1000000}",
		layout:   bus.Layout{Partitions: partitions, Replicas: 1, MaxStore: config.GiB.Bytes(), OutcomeBytes: config.MiB.Bytes()},
	}
	options := bustest.Options{Configure: func(o *server.Options) { o.MaxPayload = bus.MaxPayload }}
	for _, c := range change {
		c(&options)
	}
	w.nats = bustest.StartWith(t, options)
	w.js = w.nats.JetStream()
	if err := bus.Ensure(t.Context(), w.js, w.layout); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.cursors, err = bus.OpenCursors(t.Context(), w.js); err != nil {
		t.Fatal(err)
	}
	w.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(w.spans))
	w.tokens, w.tokenFile = tokens(t)
	w.address, w.stopMail = w.gateway.serve(t, "127.0.0.1:0", w.tracer, w.tokens)
	return w
}

// tokens makes a token with the rights of the service, as the gateway and as the service know it.
func tokens(t *testing.T) (*rpc.Tokens, string) {
	t.Helper()
	const token = "token-of-the-dsn-service"
	sum := sha256.Sum256([]byte(token))
	dir := t.TempDir()
	list := fmt.Sprintf("- name: dsn\n  sha256: %s\n  rights: [submit, null_sender]\n", hex.EncodeToString(sum[:]))
	for name, text := range map[string]string{"tokens.yaml": list, "token": token + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	known, err := rpc.LoadTokens(filepath.Join(dir, "tokens.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return known, filepath.Join(dir, "token")
}

// process is one running service.
type process struct {
	stop func()
	done chan struct{}
}

// start runs a service like a process of its own, with its own connection to the store.
func (w *world) start(change ...func(*Config, *runner.Env)) *process {
	w.t.Helper()
	cfg := Default()
	cfg.GatewayAddress, cfg.TokenFile = w.address, w.tokenFile
	cfg.Throttle.PerRecipient, cfg.Throttle.PerSender = 1<<20, 1<<20 // most outcomes here have the same sender and recipient
	conn := w.nats.Connect()
	env := runner.Env{
		Name: "dsn", Node: config.Node{Name: "mail.example.org"},
		NATSConfig: config.NATS{
			URL: "nats://127.0.0.1:1", Replicas: 1, MaxStore: config.Size(w.layout.MaxStore),
			OutcomeBytes: config.Size(w.layout.OutcomeBytes),
		},
		Queue: config.Queue{Partitions: w.layout.Partitions, LeaseTTL: config.Duration(time.Second)},
		Log:   slog.New(slog.NewJSONHandler(w.log, nil)), NATS: conn, Tracer: w.tracer, Meter: noop.NewMeterProvider(),
		Dial: func(_ context.Context, target string, opts rpc.ClientOptions) (*grpc.ClientConn, error) {
			opts.Tracer = w.tracer
			return rpc.Dial(target, opts)
		},
	}
	for _, c := range change {
		c(&cfg, &env)
	}
	s, err := New(w.t.Context(), cfg, env)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{done: make(chan struct{})}
	ready := make(chan struct{})
	go func() {
		defer close(p.done)
		defer conn.Close()
		if err := s.Run(ctx, func() { close(ready) }); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}()
	p.stop = func() { cancel(); <-p.done }
	w.t.Cleanup(p.stop)
	select {
	case <-ready:
	case <-time.After(patience):
		w.t.Fatal("not ready")
	}
	return p
}

// kill ends the service at once from inside a call; it does not wait.
func (p *process) kill() { go p.stop() }

// failed is an outcome with one recipient who was refused.
func (w *world) failed() *eventv1.Outcome {
	w.appended++
	id := ulid.Make().String()
	reply := &eventv1.Reply{Code: 550, Lines: []string{"No such user " + strconv.Itoa(w.appended)}}
	return &eventv1.Outcome{
		Id: bus.OutcomeID(id, 1, 1), MessageId: id, Part: 1, Parts: 1, EnvelopeSender: "anna@example.org",
		Destination: "example.net", DecidedAt: timestamppb.Now(), AcceptedAt: timestamppb.Now(),
		Attempt: &eventv1.Attempt{Number: 1, StartedAt: timestamppb.Now()},
		Results: []*eventv1.RecipientResult{{
			Recipient: &eventv1.Recipient{Address: "bob@example.net"},
			State:     eventv1.RecipientState_RECIPIENT_STATE_BOUNCED,
			Status:    &eventv1.EnhancedCode{Class: 5}, Reply: reply, RemoteMta: "mx.example.net",
			Failure: &eventv1.Failure{Stage: eventv1.Stage_STAGE_RCPT, Reply: reply},
		}},
	}
}

// append stores outcomes as one segment and returns its sequence.
func (w *world) append(kind bus.OutcomeKind, partition int, outcomes ...*eventv1.Outcome) uint64 {
	w.t.Helper()
	frames := make([]bus.Frame, len(outcomes))
	for i, o := range outcomes {
		var err error
		if frames[i], err = bus.FrameOutcome(o, []byte("Subject: Hello\r\n\r\n")); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.appendFrames(kind, partition, frames)
}

func (w *world) appendFrames(kind bus.OutcomeKind, partition int, frames []bus.Frame) uint64 {
	w.t.Helper()
	a := bus.NewAppender(w.js, bus.AppenderOptions{Subjects: []string{bus.OutcomeSubject(kind, partition)}})
	position, err := a.Append(w.t.Context(), frames)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := a.Close(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return position.Sequence
}

// awaitCursor waits until the cursor of a partition has reached a sequence.
func (w *world) awaitCursor(partition int, sequence uint64) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	w.awaitConn()
	kv, err := w.js.KeyValue(ctx, bus.BucketOwners)
	if err != nil {
		w.t.Fatal(err)
	}
	watch, err := kv.Watch(ctx, "dsn.cursor."+strconv.Itoa(partition))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = watch.Stop() }()
	var seen string
	for {
		select {
		case entry, ok := <-watch.Updates():
			if !ok {
				w.t.Fatalf("watch ended, cursor at %s", seen)
			}
			if entry == nil {
				continue
			}
			seen = string(entry.Value())
			if at, err := strconv.ParseUint(seen, 10, 64); err == nil && at >= sequence {
				return
			}
		case <-ctx.Done():
			w.t.Fatalf("cursor of partition %d stands at %q, want %d", partition, seen, sequence)
		}
	}
}

// awaitConn waits until the test's own connection to the store is up.
func (w *world) awaitConn() {
	w.t.Helper()
	conn := w.nats.Conn()
	up := conn.StatusChanged(nats.CONNECTED)
	defer conn.RemoveStatusListener(up)
	if conn.IsConnected() {
		return
	}
	select {
	case <-up:
	case <-time.After(patience):
		w.t.Fatal("not connected again")
	}
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
