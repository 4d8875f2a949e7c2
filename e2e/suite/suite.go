// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// Shape is how the services are laid out.
type Shape string

// The shapes a scenario runs in.
const (
	AllInOne      Shape = "all-in-one"
	FourProcesses Shape = "four-processes"
)

// Shapes are all of them.
func Shapes() []Shape { return []Shape{AllInOne, FourProcesses} }

// Options describe a suite.
type Options struct {
	// Settings overlay those a test suite on loopback needs.
	Settings Settings
	// Env is added to the environment of each process, such as oteltest.Sink.Env.
	Env []string
	// Dir holds configuration and data; a suite started anew on the same one finds its mail again. Empty: a fresh one.
	Dir string
}

// Suite is a running Postrider.
type Suite struct {
	// Gateway is the address of the gateway's gRPC port.
	Gateway string
	// Dir holds its configuration and data.
	Dir string
	// Processes are its processes by name.
	Processes map[string]*Process

	env []string
}

var shared = []string{"node", "nats", "queue", "telemetry"}

// Start starts a suite and waits until all of it serves. It is stopped when the test ends.
func Start(t testing.TB, shape Shape, o Options) *Suite {
	t.Helper()
	s := &Suite{Dir: o.Dir, Processes: map[string]*Process{}, env: append([]string{"POSTRIDER_LOG_FORMAT=json"}, o.Env...)}
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	settings := Settings{
		"node.name":                        "postrider.example",
		"nats.data_dir":                    filepath.Join(s.Dir, "data"),
		"gateway.listen":                   "127.0.0.1:0",
		"resolver.allow_special_addresses": []string{"127.0.0.0/8"},
	}.with(o.Settings)
	if shape == AllInOne {
		s.startAllInOne(t, settings)
	} else {
		s.startFour(t, settings)
	}
	return s
}

func (s *Suite) startAllInOne(t testing.TB, settings Settings) {
	t.Helper()
	file := filepath.Join(s.Dir, "postrider.yaml")
	settings.file(t, file, append(shared, "gateway", "resolver", "sender", "dsn")...)
	p := startProcess(t, "postrider", s.env, Program(t, "postrider"), "serve", "--config", file)
	s.Processes["postrider"] = p
	s.Gateway = servingAddress(t, p)
}

// startFour starts nats-server, then the services, each told where the ones before it listen.
func (s *Suite) startFour(t testing.TB, settings Settings) {
	t.Helper()
	settings = settings.with(Settings{
		"nats.url": s.startNATS(t), "nats.replicas": 1,
		"resolver.listen": "127.0.0.1:0", "sender.listen": "127.0.0.1:0", "dsn.listen": "127.0.0.1:0",
	})
	settings["sender.resolver_address"] = s.startService(t, "resolver", settings)
	s.Gateway = s.startService(t, "gateway", settings)
	settings["dsn.gateway_address"] = s.Gateway
	s.startService(t, "sender", settings)
	s.startService(t, "dsn", settings)
}

func (s *Suite) startService(t testing.TB, name string, settings Settings) string {
	t.Helper()
	file := filepath.Join(s.Dir, name+".yaml")
	settings.file(t, file, append(shared, name)...)
	p := startProcess(t, name, s.env, Program(t, name), "--config", file)
	s.Processes[name] = p
	return servingAddress(t, p)
}

var listening = regexp.MustCompile(`Listening for client connections on (\S+)`)

// startNATS starts a stand-alone nats-server whose acknowledgements mean that a message is flushed.
func (s *Suite) startNATS(t testing.TB) string {
	t.Helper()
	conf := filepath.Join(s.Dir, "nats.conf")
	writeFile(t, conf, "listen: 127.0.0.1:-1\nmax_payload: 8MB\njetstream {\n  store_dir: '"+
		filepath.Join(s.Dir, "nats")+"'\n  sync_interval: always\n}\n")
	p := startProcess(t, "nats-server", nil, Program(t, "nats-server"), "-c", conf)
	s.Processes["nats-server"] = p
	p.WaitLine(t, "being ready", func(line map[string]any) bool {
		return strings.Contains(field(line, textKey), "Server is ready")
	})
	found := listening.FindStringSubmatch(p.Log())
	if found == nil {
		t.Fatalf("nats-server does not say where it listens:\n%s", p.Log())
	}
	return "nats://" + found[1]
}

// servingAddress waits until a process serves and returns its gRPC address.
func servingAddress(t testing.TB, p *Process) string {
	t.Helper()
	line := p.WaitLine(t, "being ready to serve", func(line map[string]any) bool { return field(line, "msg") == "serving" })
	return field(line, "grpc")
}

// Mail is a client of the gateway.
func (s *Suite) Mail(t testing.TB) gatewayv1.MailServiceClient {
	t.Helper()
	return gatewayv1.NewMailServiceClient(s.Conn(t))
}

// Conn is a connection to the gateway's port, closed when the test ends.
func (s *Suite) Conn(t testing.TB) *grpc.ClientConn {
	t.Helper()
	conn, err := rpc.Dial(s.Gateway, rpc.ClientOptions{DefaultTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Await asks for a message until ok holds. Between two questions it waits for the gateway's answer only, and a little
// so as not to take the machine for itself.
func Await(ctx context.Context, t testing.TB, mail gatewayv1.MailServiceClient, id string, what string, ok func(*gatewayv1.Message) bool) *gatewayv1.Message {
	t.Helper()
	var last *gatewayv1.Message
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := mail.GetMessage(ctx, &gatewayv1.GetMessageRequest{MessageId: id})
		if err == nil {
			if last = answer.GetMessage(); ok(last) {
				return last
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("message %s: not %s: %v (last error %v), last seen %v", id, what, ctx.Err(), err, last)
		}
	}
}

// Done holds when every recipient is final.
func Done(m *gatewayv1.Message) bool {
	return m.GetState() == gatewayv1.MessageState_MESSAGE_STATE_DONE
}
