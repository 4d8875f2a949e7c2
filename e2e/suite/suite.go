// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"os"
	"path/filepath"
	"slices"
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
	// Crashable starts programs that end at POSTRIDER_CRASH_AT (kit/crashpoint).
	Crashable bool
	// Bin is a folder of programs to start instead of those of the tree.
	Bin string
	// NATSStore is the most the stand-alone nats-server stores, such as "20MB". Empty: what the disk has.
	NATSStore string
	// LogDir is a folder for the processes' logs. Then Process.Log ends where a process began to serve: under load a
	// log is too much to keep in memory.
	LogDir string
}

// Suite is a running Postrider.
type Suite struct {
	// Gateway is the address of the gateway's gRPC port.
	Gateway string
	// NATS is the URL of the stand-alone nats-server, if there is one.
	NATS string
	// Dir holds its configuration and data.
	Dir string
	// Processes are its processes by name.
	Processes map[string]*Process

	options Options
}

var shared = []string{"node", "nats", "queue", "telemetry"}

// Start starts a suite and waits until all of it serves. It is stopped when the test ends.
func Start(t testing.TB, shape Shape, o Options) *Suite {
	t.Helper()
	s := New(t, o)
	settings := s.settings(nil)
	if shape == AllInOne {
		s.startAllInOne(t, settings)
	} else {
		s.startFour(t, settings)
	}
	return s
}

// New returns a suite without processes; Launch starts them.
func New(t testing.TB, o Options) *Suite {
	t.Helper()
	s := &Suite{Dir: o.Dir, Processes: map[string]*Process{}, options: o}
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	return s
}

func (s *Suite) settings(more Settings) Settings {
	return Settings{
		"node.name":                        "postrider.example",
		"nats.data_dir":                    filepath.Join(s.Dir, "data"),
		"gateway.listen":                   "127.0.0.1:0",
		"resolver.allow_special_addresses": []string{"127.0.0.0/8"},
	}.with(s.options.Settings).with(more)
}

func (s *Suite) program(t testing.TB, name string) string {
	t.Helper()
	if s.options.Bin != "" {
		return filepath.Join(s.options.Bin, name)
	}
	if s.options.Crashable {
		name = "chaos/" + name
	}
	return Program(t, name)
}

// Launch starts one program and does not wait for it: postrider, or a service under a name of its own among the
// suite's processes. more overlays the suite's settings, env the environment.
func (s *Suite) Launch(t testing.TB, program, name string, more Settings, env ...string) *Process {
	t.Helper()
	args := make([]string, 0, 3)
	sections := slices.Concat(shared, []string{program})
	if program == "postrider" {
		args = append(args, "serve")
		sections = slices.Concat(shared, []string{"gateway", "resolver", "sender", "dsn"})
	}
	file := filepath.Join(s.Dir, name+".yaml")
	s.settings(more).file(t, file, sections...)
	p := startProcess(t, name, s.options, env, s.program(t, program), append(args, "--config", file)...)
	s.Processes[name] = p
	return p
}

func (s *Suite) startAllInOne(t testing.TB, settings Settings) {
	t.Helper()
	s.Gateway = s.Launch(t, "postrider", "postrider", settings).Serving(t)
}

// startFour starts nats-server, then the services, each told where the ones before it listen.
func (s *Suite) startFour(t testing.TB, settings Settings) {
	t.Helper()
	s.NATS = s.StartNATS(t, 0)
	settings = settings.with(Settings{
		"nats.url": s.NATS, "nats.replicas": 1,
		"resolver.listen": "127.0.0.1:0", "sender.listen": "127.0.0.1:0", "dsn.listen": "127.0.0.1:0",
	})
	settings["sender.resolver_address"] = s.startService(t, "resolver", settings)
	s.Gateway = s.startService(t, "gateway", settings)
	settings["dsn.gateway_address"] = s.Gateway
	s.startService(t, "sender", settings)
	s.startService(t, "dsn", settings)
	s.options.Settings = settings // for what is launched later
}

func (s *Suite) startService(t testing.TB, name string, settings Settings) string {
	t.Helper()
	return s.Launch(t, name, name, settings).Serving(t)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Serving waits until the process serves and returns its gRPC address.
func (p *Process) Serving(t testing.TB) string {
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
