// SPDX-License-Identifier: Apache-2.0

package sender_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender"
	"github.com/postrider/postrider/testkit/await"
	"github.com/postrider/postrider/testkit/bustest"
	"github.com/postrider/postrider/testkit/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.LeakOptions()...) }

const patience = 20 * time.Second

// routes is a resolver that knows one address for each domain.
type routes struct {
	resolverv1.UnimplementedResolverServiceServer

	mu   sync.Mutex
	hops map[string][]string // addresses with port, by domain
}

func (r *routes) ResolveRoute(_ context.Context, req *resolverv1.ResolveRouteRequest) (*resolverv1.ResolveRouteResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	resp := &resolverv1.ResolveRouteResponse{Domain: req.GetDomain(), Site: req.GetDomain()}
	for i, address := range r.hops[req.GetDomain()] {
		host, port, _ := net.SplitHostPort(address)
		var number uint32
		_, _ = fmt.Sscan(port, &number)
		resp.Hosts = append(resp.Hosts, &resolverv1.Host{
			Name: fmt.Sprintf("mx%d.%s", i, req.GetDomain()), Preference: uint32(10 * i), Addresses: []string{host}, Port: number,
		})
	}
	if len(resp.GetHosts()) == 0 {
		resp.Failure = &eventv1.Failure{
			Stage: eventv1.Stage_STAGE_RESOLVE, Reason: "no_such_domain", Status: &eventv1.EnhancedCode{Class: 5, Subject: 1, Detail: 2},
		}
	}
	return resp, nil
}

// harness is a sender with a real server, a real connection to a resolver, and real mail hosts.
type harness struct {
	t      *testing.T
	server *bustest.Server
	js     jetstream.JetStream
	ctx    context.Context
	routes *routes
	target string
	meter  metric.MeterProvider
	config sender.Config

	leaseTTL time.Duration
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{t: t, server: bustest.Start(t), routes: &routes{hops: make(map[string][]string)}, meter: metricnoop.NewMeterProvider(), leaseTTL: 2 * time.Second}
	var cancel context.CancelFunc
	h.ctx, cancel = context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	h.js = h.server.JetStream()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	h.must(err)
	resolver := grpc.NewServer()
	resolverv1.RegisterResolverServiceServer(resolver, h.routes)
	go func() { _ = resolver.Serve(listener) }()
	t.Cleanup(resolver.Stop)
	h.target = listener.Addr().String()
	h.config = sender.Default()
	h.config.ResolverAddress = h.target
	return h
}

func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) eventually(what string, ok func() bool) {
	h.t.Helper()
	await.Until(h.t, what, ok)
}

// host starts a mail host for a domain; several calls add hosts in order.
func (h *harness) host(domain string, o smtptest.HostOptions) *smtptest.Host {
	h.t.Helper()
	host := smtptest.NewHost(h.t, o)
	h.routes.mu.Lock()
	defer h.routes.mu.Unlock()
	h.routes.hops[domain] = append(h.routes.hops[domain], host.Addr().String())
	return host
}

func (h *harness) env(conn *nats.Conn) runner.Env {
	store := config.DefaultNATS()
	store.DataDir = h.t.TempDir()
	queue := config.DefaultQueue()
	queue.LeaseTTL = config.Duration(h.leaseTTL)
	return runner.Env{
		Name: "sender", Node: config.Node{Name: "mail.example.org"}, NATSConfig: store, Queue: queue,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), NATS: conn,
		Dial: func(_ context.Context, target string, o rpc.ClientOptions) (*grpc.ClientConn, error) {
			return rpc.Dial(target, o)
		},
		Tracer: tracenoop.NewTracerProvider(), Meter: h.meter,
	}
}

// running is a sender that runs.
type running struct {
	service runner.Service
	stop    func()
	done    chan error
}

func (h *harness) start() *running {
	h.t.Helper()
	service, err := sender.New(h.ctx, h.config, h.env(h.server.Connect()))
	h.must(err)
	ctx, cancel := context.WithCancel(h.ctx)
	r := &running{service: service, done: make(chan error, 1)}
	ready := make(chan struct{})
	go func() { r.done <- service.Run(ctx, func() { close(ready) }) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-r.done; err != nil {
			h.t.Errorf("Run: %v", err)
		}
	})
	h.t.Cleanup(r.stop)
	select {
	case <-ready:
	case <-time.After(patience):
		h.t.Fatal("not ready")
	}
	return r
}

// submit stores a message for recipients of one domain.
func (h *harness) submit(id, domain string, local ...string) string {
	h.t.Helper()
	h.must(bus.Ensure(h.ctx, h.js, bus.Layout{Partitions: 1}))
	body := "From: a@example.org\r\nSubject: " + id + "\r\n\r\nhello\r\n"
	sum := sha256.Sum256([]byte(body))
	m := &eventv1.QueuedMail{
		MessageId: id, Part: 1, Parts: 1, Destination: domain, AcceptedAt: timestamppb.Now(),
		Envelope: &eventv1.Envelope{Sender: "a@example.org"},
		Content:  &eventv1.Content{Size: uint64(len(body)), HeaderSize: uint32(len(body) - 7), Sha256: sum[:]},
	}
	for _, l := range local {
		m.Envelope.Recipients = append(m.Envelope.Recipients, &eventv1.Recipient{Address: l + "@" + domain})
	}
	f, err := bus.FrameMail(m, []byte(body))
	h.must(err)
	header, data := bus.EncodeSegment([]bus.Frame{f})
	_, err = h.js.PublishMsg(h.ctx, &nats.Msg{Subject: bus.MailSubject(0), Header: header, Data: data})
	h.must(err)
	return body
}

// outcomes returns what is stored of a message, in order.
func (h *harness) outcomes(id string) []*eventv1.Outcome {
	h.t.Helper()
	r, err := bus.NewReader(h.ctx, h.js, bus.ReaderOptions{Stream: bus.StreamOutcome})
	h.must(err)
	defer func() { _ = r.Close() }()
	var found []*eventv1.Outcome
	h.must(r.ReadToEnd(h.ctx, func(d bus.Delivery) error {
		for i := range d.Segment.Len() {
			f, err := d.Segment.Frame(i)
			if err != nil {
				return err
			}
			o, err := f.Outcome()
			if err != nil {
				return err
			}
			if o.GetMessageId() == id {
				found = append(found, o)
			}
		}
		return nil
	}))
	return found
}

// await waits for the nth outcome of a message.
func (h *harness) await(id string, n int) []*eventv1.Outcome {
	h.t.Helper()
	var found []*eventv1.Outcome
	h.eventually(fmt.Sprintf("%d outcomes of %s", n, id), func() bool {
		found = h.outcomes(id)
		return len(found) >= n
	})
	return found
}
