// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// commandLimit bounds one call of docker or compose.
const commandLimit = 2 * time.Minute

// stack is the running compose project.
type stack struct {
	root    string
	gateway string // address published on the host
	jaeger  string // http://… of the query API
	mail    gatewayv1.MailServiceClient
}

// start brings the demo up as `make up-demo` does, and down when the test ends.
func start(t *testing.T) *stack {
	t.Helper()
	s := &stack{root: suite.Root(t)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs of the containers:\n%s", s.compose(t, "logs", "--no-color", "--tail", "20"))
		}
		s.compose(t, "down", "--volumes", "--timeout", "45")
	})
	s.compose(t, "up", "--detach", "--no-build", "--wait", "--wait-timeout", "120")
	s.gateway = strings.TrimSpace(s.compose(t, "port", "gateway", "9925"))
	s.jaeger = "http://" + strings.TrimSpace(s.compose(t, "port", "jaeger", "16686"))
	conn, err := rpc.Dial(s.gateway, rpc.ClientOptions{TokenFile: s.token(), DefaultTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s.mail = gatewayv1.NewMailServiceClient(conn)
	return s
}

func (s *stack) token() string { return filepath.Join(s.root, "deploy", "secrets", "ops_token") }

// compose runs docker compose on the project and returns its standard output.
func (s *stack) compose(t *testing.T, args ...string) string {
	t.Helper()
	command := strings.Fields(os.Getenv("COMPOSE"))
	if len(command) == 0 {
		t.Fatal("COMPOSE is not set: run make e2e-containers")
	}
	command = append(command, "--progress", "quiet", "-f", filepath.Join(s.root, "deploy", "compose.yaml"), "--profile", "demo")
	return run(t, append(command, args...)...)
}

// run runs a command to its end and returns its standard output.
func run(t *testing.T, command ...string) string {
	t.Helper()
	out, err := try(command...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(command, " "), err)
	}
	return out
}

type failed struct {
	error
	stderr string
}

func (f failed) Error() string { return f.error.Error() + "\n" + f.stderr }

func try(command ...string) (string, error) { return with(nil, command...) }

// with is try with standard input.
func with(stdin io.Reader, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), failed{err, stderr.String() + stdout.String()}
	}
	return stdout.String(), nil
}

// containers are the ids of a service's containers.
func (s *stack) containers(t *testing.T, service string) []string {
	t.Helper()
	return strings.Fields(s.compose(t, "ps", "--quiet", service))
}

func inspect(t *testing.T, container, format string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "docker", "inspect", "--format", format, container))
}

// hostLine is what a demo host tells of a message.
type hostLine struct {
	Time       time.Time
	Msg        string
	MessageID  string `json:"message_id"`
	Subject    string
	NullSender bool `json:"null_sender"`
	SHA256     string
}

// host returns what a demo host told so far.
func (s *stack) host(t *testing.T, service string) []hostLine {
	t.Helper()
	var lines []hostLine
	for text := range strings.Lines(s.compose(t, "logs", "--no-color", "--no-log-prefix", service)) {
		var line hostLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%s wrote %q: %v", service, text, err)
		}
		lines = append(lines, line)
	}
	return lines
}

// get asks Jaeger's query API and decodes the answer.
func (s *stack) get(t *testing.T, into any, path string, query url.Values) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.jaeger+path+"?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v\n%s", request.URL, response.Status, err, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("GET %s: %v\n%s", request.URL, err, body)
	}
}

// eventually asks until ok holds.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}
