// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.LeakOptions()...) }

// command runs a command line of a process "stub".
func command(ctx context.Context, t *testing.T, env map[string]string, service *stub, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs lines
	cfg := &stubConfig{Listen: "127.0.0.1:0", Word: "default"}
	p := &program{
		name: "stub", shared: DefaultShared(), unit: unit("stub", cfg, service),
		getenv: func(name string) string { return env[name] }, stdout: &out, stderr: &errs,
	}
	status = p.main(ctx, args)
	return status, out.String(), errs.String()
}

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "stub.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestMain_ConfigPrintReadsBack(t *testing.T) {
	status, printed, _ := command(t.Context(), t, nil, &stub{}, "config", "print")
	if status != 0 {
		t.Fatalf("status %d", status)
	}
	for _, want := range []string{"node:\n", "nats:\n", "queue:\n", "telemetry:\n", "stub:\n  # Where to listen.\n  listen: 127.0.0.1:0\n", "  lease_ttl: 10s\n"} {
		if !strings.Contains(printed, want) {
			t.Errorf("not printed: %q", want)
		}
	}
	status, again, stderr := command(t.Context(), t, nil, &stub{}, "config", "print", "--config", file(t, printed))
	if status != 0 || again != printed {
		t.Errorf("read back: %d %s\n%s", status, stderr, again)
	}
}

func TestMain_ConfigPrintShowsTheFile(t *testing.T) {
	name := file(t, "stub: {word: fromfile}\nqueue: {partitions: 7}\n")
	for _, tt := range []struct {
		env  map[string]string
		args []string
	}{
		{nil, []string{"--config", name, "config", "print"}},
		{nil, []string{"config", "--config=" + name, "print"}},
		{map[string]string{"POSTRIDER_CONFIG": name}, []string{"config", "print"}},
	} {
		status, printed, stderr := command(t.Context(), t, tt.env, &stub{}, tt.args...)
		if status != 0 || !strings.Contains(printed, "word: fromfile\n") || !strings.Contains(printed, "partitions: 7\n") {
			t.Errorf("%v: %d %s%s", tt.args, status, stderr, printed)
		}
	}
	status, table, _ := command(t.Context(), t, nil, &stub{}, "config", "print", "--markdown")
	if status != 0 || !strings.Contains(table, "| `stub.word` | `default` | A word. |") {
		t.Errorf("%d %s", status, table)
	}
}

func TestMain_BadCommandLines(t *testing.T) {
	tests := []struct {
		name   string
		env    map[string]string
		args   []string
		status int
		want   string
	}{
		{"unknown command", nil, []string{"start"}, 2, `unknown command "start"`},
		{"half a command", nil, []string{"config"}, 2, `unknown command "config"`},
		{"too much", nil, []string{"config", "print", "x"}, 2, "unknown command"},
		{"unknown flag", nil, []string{"--verbose"}, 2, "flag provided but not defined"},
		{"flag without value", nil, []string{"--config"}, 2, "flag needs an argument"},
		{"missing file", nil, []string{"--config", "/does/not/exist"}, 1, "no such file"},
		{"unknown key", nil, []string{"--config", file(t, "stub: {wrod: x}\n")}, 1, "stub.yaml:1: stub.wrod: unknown key"},
		{"another service's section", nil, []string{"--config", file(t, "sender: {}\n")}, 1, "sender: unknown section"},
		{"bad value", nil, []string{"--config", file(t, "stub: {word: bad}\n")}, 1, "stub.word: must not be bad"},
		{"log format", nil, []string{"--log-format", "xml"}, 1, `log format must be json or text, not "xml"`},
		{"log level", map[string]string{"POSTRIDER_LOG_LEVEL": "loud"}, nil, 1, `log level must be debug, info, warn or error, not "loud"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := command(t.Context(), t, tt.env, &stub{}, tt.args...)
			if status != tt.status || !strings.HasPrefix(stderr, "stub: ") || !strings.Contains(stderr, tt.want) || stdout != "" {
				t.Errorf("status %d\n%s%s", status, stdout, stderr)
			}
		})
	}
}

func TestMain_HelpAndVersion(t *testing.T) {
	status, out, stderr := command(t.Context(), t, nil, &stub{}, "--help")
	if status != 0 || !strings.Contains(out, "usage: stub") || !strings.Contains(out, "POSTRIDER_LOG_FORMAT") || stderr != "" {
		t.Errorf("%d %s%s", status, out, stderr)
	}
	status, out, _ = command(t.Context(), t, nil, &stub{}, "version")
	if status != 0 || out != "stub "+Version()+"\n" || Version() == "" {
		t.Errorf("%d %q", status, out)
	}
}

// TestMain_RunsHealthAndStops: the life of a process as its supervisor sees it.
func TestMain_RunsHealthAndStops(t *testing.T) {
	name := file(t, "node: {http_listen: off}\nstub: {listen: "+`"`+freeAddress(t)+`"`+"}\n")
	if status, _, stderr := command(t.Context(), t, nil, &stub{}, "health", "--config", name); status != 1 || !strings.Contains(stderr, "health of 127.0.0.1") {
		t.Errorf("before it runs: %d %s", status, stderr)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	up := make(chan struct{})
	service := &stub{run: func(ctx context.Context, ready func()) error { ready(); close(up); <-ctx.Done(); return nil }}
	type result struct {
		status int
		stderr string
	}
	ended := make(chan result, 1)
	go func() {
		status, _, stderr := command(ctx, t, map[string]string{"POSTRIDER_LOG_FORMAT": "text"}, service, "--config", name)
		ended <- result{status, stderr}
	}()
	<-up
	healthy := func() bool {
		status, stdout, _ := command(t.Context(), t, nil, &stub{}, "health", "--config", name)
		return status == 0 && stdout == "serving\n"
	}
	waitCtx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := await(waitCtx, healthy); err != nil {
		t.Errorf("never healthy: %v", err)
	}
	stop()
	select {
	case r := <-ended:
		if r.status != 0 || !strings.Contains(r.stderr, "msg=serving") {
			t.Errorf("%d %s", r.status, r.stderr)
		}
	case <-time.After(patience):
		t.Fatal("does not end")
	}
}

func TestLocalTarget(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:4025": "127.0.0.1:4025", ":4025": "127.0.0.1:4025", "[::]:4025": "[::1]:4025", "127.0.0.1:1": "127.0.0.1:1",
		"192.0.2.1:1": "192.0.2.1:1", "mail.example.com:1": "mail.example.com:1",
	} {
		if got, err := localTarget(address); got != want || err != nil {
			t.Errorf("%s: %s %v", address, got, err)
		}
	}
	if err := CheckHealth(t.Context(), "nowhere", config.TLS{}); err == nil {
		t.Error("an address without port was taken")
	}
}

func TestNewLogger(t *testing.T) {
	var out bytes.Buffer
	for _, tt := range []struct{ format, level, want string }{
		{"", "", `{"time":`}, {"json", "info", `{"time":`}, {"text", "debug", "time="},
	} {
		out.Reset()
		log, err := NewLogger(&out, tt.format, tt.level)
		if err != nil {
			t.Fatal(err)
		}
		log.DebugContext(t.Context(), "fine")
		log.InfoContext(t.Context(), "coarse")
		if !strings.HasPrefix(out.String(), tt.want) || strings.Contains(out.String(), "fine") != (tt.level == "debug") {
			t.Errorf("%+v: %s", tt, out.String())
		}
	}
}

func TestShared_SectionsAndDefaults(t *testing.T) {
	shared := DefaultShared()
	if err := shared.Validate(); err != nil {
		t.Error(err)
	}
	cfg := loopback()
	names := ""
	for _, s := range shared.Sections(unit("gateway", cfg, &stub{})) {
		names += s.Name + " "
	}
	if names != "node nats queue telemetry gateway " {
		t.Errorf("sections %s", names)
	}
}
