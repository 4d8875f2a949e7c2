// SPDX-License-Identifier: Apache-2.0

//go:build debian

package dnssec_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
)

const (
	startLimit = 30 * time.Second
	stopLimit  = 10 * time.Second
	portTries  = 5
)

// install gives the folder of Debian's programs, unpacked by the first call. A package that cannot be had fails the test.
func install(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(suite.Root(t), "bin", "debian-dns")
	if out, err := exec.CommandContext(t.Context(), "./install.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("the DNS servers of Debian cannot be had: install.sh: %v\n%s", err, out)
	}
	return filepath.Join(dir, "bin")
}

// daemon is a DNS server of Debian's, run in the foreground as our child.
type daemon struct {
	cmd  *exec.Cmd
	done chan struct{}

	mu    sync.Mutex
	log   bytes.Buffer
	ready chan struct{} // closed with the line that says so
}

// startDaemon starts a server on a free port of 127.0.0.1. configure writes its configuration for a port and gives the
// arguments; readyText is what the server logs when it serves. The end of the test stops it.
func startDaemon(t *testing.T, program, readyText string, configure func(port int) []string) (port int) {
	t.Helper()
	for range portTries {
		port = freePort(t)
		d := runDaemon(t, program, readyText, configure(port))
		select {
		case <-d.ready:
			return port
		case <-d.done:
			if text := d.text(); !strings.Contains(text, "in use") { // somebody took the port meanwhile
				t.Fatalf("%s ended (%s):\n%s", program, d.cmd.ProcessState, text)
			}
		case <-time.After(startLimit):
			t.Fatalf("%s does not serve after %s:\n%s", program, startLimit, d.text())
		}
	}
	t.Fatalf("%s found no free port in %d tries", program, portTries)
	return 0
}

func runDaemon(t *testing.T, program, readyText string, args []string) *daemon {
	t.Helper()
	d := &daemon{cmd: exec.Command(program, args...), done: make(chan struct{}), ready: make(chan struct{})}
	// A group of its own, since nsd forks; and not to outlive a test that is killed.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d.cmd.Stdout, d.cmd.Stderr = w, w
	err = d.cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() { defer close(read); d.read(r, readyText) }()
	go func() { _ = d.cmd.Wait(); close(d.done) }()
	t.Cleanup(func() {
		d.stop(t)
		<-read
		r.Close()
		if t.Failed() {
			t.Logf("log of %s:\n%s", filepath.Base(program), d.text())
		}
	})
	return d
}

func (d *daemon) read(r *os.File, readyText string) {
	said := false
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		d.mu.Lock()
		d.log.WriteString(lines.Text() + "\n")
		d.mu.Unlock()
		if !said && strings.Contains(lines.Text(), readyText) {
			said = true
			close(d.ready)
		}
	}
}

func (d *daemon) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

func (d *daemon) stop(t *testing.T) {
	t.Helper()
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case <-d.done:
	case <-time.After(stopLimit):
		t.Errorf("%s did not stop within %s", d.cmd.Path, stopLimit)
	}
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // what is left of its group, usually nothing
}

// freePort is a port that was free for UDP and TCP a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	for range portTries {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err == nil {
			u.Close()
			return port
		}
	}
	t.Fatal("no port is free for UDP and TCP")
	return 0
}

// startNSD serves zones, files by their names, authoritatively.
func startNSD(t *testing.T, bin, dir string, zones map[string]string) (port int) {
	t.Helper()
	return startDaemon(t, filepath.Join(bin, "nsd"), "nsd started", func(port int) []string {
		conf := fmt.Sprintf(`server:
  ip-address: 127.0.0.1
  port: %d
  server-count: 1
  rrl-ratelimit: 0
  ipv4-edns-size: 4096
  username: ""
  chroot: ""
  database: ""
  zonesdir: %[2]q
  pidfile: "%[2]s/nsd.pid"
  xfrdir: %[2]q
  xfrdfile: "%[2]s/xfrd.state"
  zonelistfile: "%[2]s/zone.list"
remote-control:
  control-enable: no
`, port, dir)
		for name, file := range zones {
			conf += fmt.Sprintf("zone:\n  name: %q\n  zonefile: %q\n", name, file)
		}
		return []string{"-d", "-c", write(t, dir, "nsd.conf", conf)}
	})
}

// startUnbound validates what the authoritative server on a port says of the zones, from one trust anchor. The root is
// among the zones, so that it asks nobody else; and its queries leave from 127.0.0.1, which leads nowhere else.
func startUnbound(t *testing.T, bin, dir, anchor string, zones map[string]string, authoritative int) (port int) {
	t.Helper()
	return startDaemon(t, filepath.Join(bin, "unbound"), "start of service", func(port int) []string {
		conf := fmt.Sprintf(`server:
  interface: 127.0.0.1
  port: %d
  outgoing-interface: 127.0.0.1
  do-ip6: no
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  num-threads: 1
  edns-buffer-size: 4096
  username: ""
  chroot: ""
  directory: %q
  pidfile: ""
  use-syslog: no
  logfile: ""
  val-log-level: 2
  module-config: "validator iterator"
  trust-anchor: %q
remote-control:
  control-enable: no
`, port, dir, anchor)
		for name := range zones {
			conf += fmt.Sprintf("stub-zone:\n  name: %q\n  stub-addr: 127.0.0.1@%d\n", name, authoritative)
		}
		return []string{"-d", "-p", "-c", write(t, dir, "unbound.conf", conf)}
	})
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
