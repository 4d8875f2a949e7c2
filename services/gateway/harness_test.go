// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/bodystore"
	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	"github.com/postrider/postrider/kit/telemetry"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.LeakOptions()...) }

// harness is a gateway as a process of its own, called over a real connection, on an embedded server.
type harness struct {
	t      testing.TB
	cfg    Config
	shared runner.Shared
	server *bustest.Server
	spans  *tracetest.SpanRecorder
	log    *slog.Logger

	addr string
	stop func()
	conn *grpc.ClientConn
	mail gatewayv1.MailServiceClient
}

// start runs a gateway; change sets its configuration before.
func start(t testing.TB, change ...func(*harness)) *harness {
	t.Helper()
	h := &harness{t: t, cfg: Default(), shared: runner.DefaultShared(), spans: tracetest.NewSpanRecorder(), log: slog.New(slog.DiscardHandler)}
	h.cfg.Listen = "127.0.0.1:0"
	h.shared.Node.Name, h.shared.Node.HTTPListen = "gateway.example", "off"
	h.shared.NATS.DataDir = t.TempDir()
	h.server = bustest.StartWith(t, bustest.Options{Configure: func(o *server.Options) { o.MaxPayload = bus.MaxPayload }})
	for _, c := range change {
		c(h)
	}
	h.run()
	return h
}

// run starts the gateway, again after stop.
func (h *harness) run() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	process := h.process()
	process.OnReady = func(a runner.Addresses) { ready <- a.GRPC.String() }
	go func() { ended <- runner.Run(ctx, process) }()
	select {
	case h.addr = <-ready:
	case err := <-ended:
		cancel()
		h.t.Fatalf("the gateway did not start: %v", err)
	}
	h.stop = sync.OnceFunc(func() {
		_ = h.conn.Close()
		cancel()
		if err := <-ended; err != nil {
			h.t.Errorf("the gateway did not end well: %v", err)
		}
	})
	h.t.Cleanup(func() { h.stop() })
	h.conn = h.dial(rpc.ClientOptions{})
	h.mail = gatewayv1.NewMailServiceClient(h.conn)
}

// process is the gateway's process on the test's server.
func (h *harness) process() runner.Process {
	return runner.Process{
		Name: "gateway", Shared: h.shared, Units: []runner.Unit{runner.NewUnit("gateway", &h.cfg, New)}, Log: h.log,
		ConnectNATS: func(context.Context, config.NATS, *slog.Logger) (*nats.Conn, func(), error) {
			conn, err := nats.Connect("", append(h.server.ConnOptions(), nats.RetryOnFailedConnect(true))...)
			return conn, conn.Close, err
		},
		Telemetry: []telemetry.Option{telemetry.WithObserver(h.spans)},
	}
}

// restart ends the gateway and runs it again.
func (h *harness) restart() {
	h.t.Helper()
	h.stop()
	h.run()
}

func (h *harness) dial(o rpc.ClientOptions) *grpc.ClientConn {
	h.t.Helper()
	conn, err := rpc.Dial(h.addr, o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// as returns a client with a token.
func (h *harness) as(token string) gatewayv1.MailServiceClient {
	h.t.Helper()
	return gatewayv1.NewMailServiceClient(h.dial(rpc.ClientOptions{Token: token}))
}

// withTokens gives the gateway callers; each token is its name behind "secret-".
func withTokens(rights map[string]string) func(*harness) {
	return func(h *harness) {
		h.t.Helper()
		var file strings.Builder
		for name, list := range rights {
			sum := sha256.Sum256([]byte("secret-" + name))
			fmt.Fprintf(&file, "- name: %s\n  sha256: %s\n  rights: [%s]\n", name, hex.EncodeToString(sum[:]), list)
		}
		h.cfg.Tokens = filepath.Join(h.t.TempDir(), "tokens.yaml")
		if err := os.WriteFile(h.cfg.Tokens, []byte(file.String()), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
}

// stored is a record of MAIL with its content.
type stored struct {
	*eventv1.QueuedMail
	content []byte
}

// records reads all of MAIL.
func (h *harness) records() []stored {
	h.t.Helper()
	js := h.server.JetStream()
	r, err := bus.NewReader(h.t.Context(), js, bus.ReaderOptions{Stream: bus.StreamMail})
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	bodies, err := bodystore.Open(js, h.shared.NATS.DataDir)
	if err != nil {
		h.t.Fatal(err)
	}
	var all []stored
	err = r.ReadToEnd(h.t.Context(), func(d bus.Delivery) error {
		for i := range d.Segment.Len() {
			frame, err := d.Segment.Frame(i)
			if err != nil {
				return err
			}
			record, err := frame.Mail()
			if err != nil {
				return err
			}
			s := stored{record, frame.Content}
			if ref := record.GetContent().GetBodyRef(); ref != "" {
				if s.content, err = readBody(h.t.Context(), bodies, ref); err != nil {
					return err
				}
			}
			all = append(all, s)
		}
		return d.Err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

func readBody(ctx context.Context, store bodystore.Store, ref string) ([]byte, error) {
	body, err := store.Open(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return io.ReadAll(body)
}

// submitted checks that a record holds what was submitted behind our own fields, and returns those.
func (s stored) submitted(t testing.TB, content string) (ours string) {
	t.Helper()
	c := s.GetContent()
	if uint64(len(s.content)) != c.GetSize() || sha256.Sum256(s.content) != [32]byte(c.GetSha256()) {
		t.Errorf("%d bytes are stored, the record says %d, or the digest differs", len(s.content), c.GetSize())
	}
	if got := string(s.content[c.GetPrependedSize():]); got != content {
		t.Errorf("stored %.200q, submitted %.200q", got, content)
	}
	return string(s.content[:c.GetPrependedSize()])
}

// bodies lists the body store.
func (h *harness) bodies() []bodystore.Entry {
	h.t.Helper()
	store, err := bodystore.Open(h.server.JetStream(), h.shared.NATS.DataDir)
	if err != nil {
		h.t.Fatal(err)
	}
	var list []bodystore.Entry
	for e, err := range store.List(h.t.Context(), time.Now().Add(time.Hour)) {
		if err != nil {
			h.t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// text is a message without faults, of about the given size.
func text(size int) string {
	head := "From: a@example.org\r\nTo: b@example.com\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n" +
		"Message-ID: <1@example.org>\r\nSubject: hello\r\n\r\n"
	line := strings.Repeat("0123456789", 7) + "\r\n"
	if size <= len(head) {
		return head + "hello\r\n"
	}
	return head + strings.Repeat(line, (size-len(head))/len(line)+1)
}

// request is a submission of a message without faults, changed by the given functions.
func request(change ...func(*gatewayv1.SubmitRequest)) *gatewayv1.SubmitRequest {
	r := &gatewayv1.SubmitRequest{
		Envelope: &gatewayv1.Envelope{Sender: "a@example.org", Recipients: []*gatewayv1.Recipient{{Address: "b@example.com"}}},
		Content:  []byte(text(0)),
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func to(addresses ...string) func(*gatewayv1.SubmitRequest) {
	return func(r *gatewayv1.SubmitRequest) {
		r.Envelope.Recipients = nil
		for _, a := range addresses {
			r.Envelope.Recipients = append(r.Envelope.Recipients, &gatewayv1.Recipient{Address: a})
		}
	}
}

func body(content string) func(*gatewayv1.SubmitRequest) {
	return func(r *gatewayv1.SubmitRequest) { r.Content = []byte(content) }
}

func key(k string) func(*gatewayv1.SubmitRequest) {
	return func(r *gatewayv1.SubmitRequest) { r.Envelope.IdempotencyKey = k }
}

// submit takes one message that has no faults.
func (h *harness) submit(r *gatewayv1.SubmitRequest) *gatewayv1.Accepted {
	h.t.Helper()
	answer, err := h.mail.Submit(h.t.Context(), r)
	if err != nil {
		h.t.Fatalf("Submit: %v", rpc.FromError(err))
	}
	return answer.GetAccepted()
}

// stream submits in pieces.
func stream(ctx context.Context, mail gatewayv1.MailServiceClient, r *gatewayv1.SubmitRequest, piece int) (*gatewayv1.Accepted, error) {
	s, err := mail.SubmitStream(ctx)
	if err != nil {
		return nil, err
	}
	err = s.Send(&gatewayv1.SubmitStreamRequest{Part: &gatewayv1.SubmitStreamRequest_Envelope{Envelope: r.GetEnvelope()}})
	for rest := r.GetContent(); err == nil && len(rest) > 0; rest = rest[min(piece, len(rest)):] {
		part := &gatewayv1.SubmitStreamRequest_Content{Content: rest[:min(piece, len(rest))]}
		err = s.Send(&gatewayv1.SubmitStreamRequest{Part: part})
	}
	answer, err := s.CloseAndRecv() // after a failed Send it has the reason
	return answer.GetAccepted(), err
}
