// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is one running program and its log.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}

	file *os.File // the log goes here once the process serves, if not nil

	mu      sync.Mutex
	log     bytes.Buffer
	lines   []map[string]any
	changed chan struct{}
}

const (
	// textKey is the key of a line's whole text.
	textKey      = "\x00text"
	startTimeout = time.Minute
	stopTimeout  = 40 * time.Second
)

// startProcess runs a program with its log on standard error. It is stopped when the test ends, and its log is
// shown when the test failed.
func startProcess(t testing.TB, name string, o Options, env []string, program string, args ...string) *Process {
	t.Helper()
	p := &Process{name: name, cmd: exec.Command(program, args...), done: make(chan struct{}), changed: make(chan struct{})}
	p.cmd.Env = slices.Concat(os.Environ(), []string{"POSTRIDER_LOG_FORMAT=json"}, o.Env, env)
	if o.LogDir != "" {
		var err error
		p.file, err = os.OpenFile(filepath.Join(o.LogDir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(stderr)
	}()
	go func() {
		<-read
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Stop(t)
		switch {
		case t.Failed() && o.LogDir != "":
			t.Logf("log of %s: %s", name, o.LogDir)
		case t.Failed():
			t.Logf("log of %s:\n%s", name, p.Log())
		}
	})
	return p
}

func (p *Process) read(r io.Reader) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	if p.file != nil {
		defer p.file.Close()
	}
	for serving := false; scanner.Scan(); {
		if p.file != nil {
			_, _ = p.file.Write(append(scanner.Bytes(), '\n')) // without it there is a poorer log
			if serving {
				continue
			}
			serving = bytes.Contains(scanner.Bytes(), []byte(`"msg":"serving"`))
		}
		line := map[string]any{}
		_ = json.Unmarshal(scanner.Bytes(), &line) // a line that is not JSON (nats-server) has its text alone
		line[textKey] = scanner.Text()
		p.mu.Lock()
		p.log.WriteString(scanner.Text() + "\n")
		p.lines = append(p.lines, line)
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
}

// Log is what the process has written so far.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// WaitLine waits for a log line and returns it. It fails the test when the process ends first.
func (p *Process) WaitLine(t testing.TB, what string, match func(map[string]any) bool) map[string]any {
	t.Helper()
	deadline := time.After(startTimeout)
	seen := 0
	for {
		p.mu.Lock()
		changed := p.changed
		fresh := p.lines[seen:]
		seen = len(p.lines)
		p.mu.Unlock()
		for _, line := range fresh {
			if match(line) {
				return line
			}
		}
		select {
		case <-changed:
		case <-p.done:
			t.Fatalf("%s ended (%s) before %s; its log:\n%s", p.name, p.cmd.ProcessState, what, p.Log())
		case <-deadline:
			t.Fatalf("%s: no %s within %s; its log:\n%s", p.name, what, startTimeout, p.Log())
		}
	}
}

// Stop asks the process to end and waits for it. A process that is gone already is fine.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	p.Signal(syscall.SIGCONT) // it may have been stopped
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		t.Errorf("%s did not stop within %s", p.name, stopTimeout)
		p.Kill(t)
	}
}

// Kill ends the process as a crash would (SIGKILL) and waits until it is gone.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Kill() // it may be gone
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		t.Fatalf("%s is not gone after SIGKILL", p.name)
	}
}

// ServingOrGone waits until the process serves (true) or has ended.
func (p *Process) ServingOrGone(t testing.TB) bool {
	t.Helper()
	deadline := time.After(startTimeout)
	for {
		p.mu.Lock()
		changed := p.changed
		serving := slices.ContainsFunc(p.lines, func(line map[string]any) bool { return field(line, "msg") == "serving" })
		p.mu.Unlock()
		if serving {
			return true
		}
		select {
		case <-changed:
		case <-p.done:
			return false
		case <-deadline:
			t.Fatalf("%s neither serves nor ends within %s; its log:\n%s", p.name, startTimeout, p.Log())
		}
	}
}

// Signal sends a signal. A process that is gone already is fine.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Suspend stops the process (SIGSTOP) and waits until it stands still. The signal alone only asks for that.
func (p *Process) Suspend(t testing.TB) {
	t.Helper()
	p.Signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(stopTimeout); ; time.Sleep(time.Millisecond) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		if _, rest, ok := strings.Cut(string(status), ") "); ok && strings.HasPrefix(rest, "T") {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%s does not stand still: %s (%v)", p.name, status, err)
		}
	}
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.done }

// Killed reports that the process has ended by SIGKILL.
func (p *Process) Killed() bool {
	select {
	case <-p.done:
		status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
		return ok && status.Signal() == syscall.SIGKILL
	default:
		return false
	}
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

func field(line map[string]any, key string) string {
	if v, ok := line[key]; ok {
		return fmt.Sprint(v)
	}
	return ""
}
