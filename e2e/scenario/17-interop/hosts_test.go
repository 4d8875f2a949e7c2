// SPDX-License-Identifier: Apache-2.0

//go:build debian

package interop_test

import (
	"bufio"
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/testkit/smtptest"
)

const (
	recipients = 20 // of the message with many
	startLimit = 90 * time.Second
)

//go:embed conf
var conf embed.FS

// host is a mail server of Debian's, run in namespaces of its own as our child.
type host struct {
	state  string
	behind string // what it writes behind a message it stores
	done   chan struct{}
}

// unpack gives the folder of Debian's packages, unpacked by the first call. A package that cannot be had fails the test.
func unpack(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("mail servers take their place among the system's files only for root")
	}
	dir := filepath.Join(suite.Root(t), "bin", "debian-mta")
	if out, err := exec.CommandContext(t.Context(), "./install.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("the mail servers of Debian cannot be had: install.sh: %v\n%s", err, out)
	}
	return dir
}

// run starts a program of an unpacked package; conf/NAME with its placeholders filled lies over /etc. It ends with the
// test, and everything it started with it, since it is the first process of its namespace.
func run(t *testing.T, packages, name, unpacked string, certificate []byte, fill *strings.Replacer, command string) *host {
	t.Helper()
	h := &host{state: t.TempDir(), done: make(chan struct{})}
	etc := filepath.Join(h.state, "etc")
	for _, dir := range []string{etc, filepath.Join(h.state, "scratch")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyConf(t, "conf/"+name, etc, fill)
	mode := os.FileMode(0o600)
	if name == "exim" {
		mode = 0o644 // it reads it as a user of its own
	}
	if err := os.WriteFile(filepath.Join(etc, "host.pem"), certificate, mode); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("./enter.sh", filepath.Join(packages, unpacked), h.state, "sh", "-c", command)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(h.done) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-h.done
		if t.Failed() {
			t.Logf("log of %s:\n%s%s", name, &log, h.logs())
		}
	})
	return h
}

// copyConf copies configuration files, without which a program runs on its package's.
func copyConf(t *testing.T, from, to string, fill *strings.Replacer) {
	t.Helper()
	err := fs.WalkDir(conf, from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := conf.ReadFile(path)
		if err != nil {
			return err
		}
		file := filepath.Join(to, strings.TrimPrefix(path, from))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if strings.HasSuffix(file, ".sh") {
			mode = 0o755
		}
		return os.WriteFile(file, []byte(fill.Replace(string(text))), mode)
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// logs are the log files the program wrote.
func (h *host) logs() string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(h.state, "log", "*"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		fmt.Fprintf(&all, "%s:\n%s", filepath.Base(file), text)
	}
	return all.String()
}

// waitFor waits until a program listens.
func (h *host) waitFor(t *testing.T, address string) {
	t.Helper()
	deadline := time.Now().Add(startLimit)
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-h.done:
			t.Fatalf("the program for %s ended", address)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens on %s after %s", address, startLimit)
		}
	}
}

// freePort is a port that was free on these addresses a moment ago.
func freePort(t *testing.T, addresses ...string) uint16 {
	t.Helper()
	listeners, err := smtptest.ListenShared(addresses...)
	if err != nil {
		t.Fatal(err)
	}
	port := smtptest.Port(listeners[0])
	for _, l := range listeners {
		l.Close()
	}
	return port
}

// greylist is a policy service for Postfix (SMTPD_POLICY_README): the first question about grey@ is put off.
func greylist(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan struct{}, 1)
	first <- struct{}{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answerPolicy(conn, first)
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}

func answerPolicy(conn net.Conn, first <-chan struct{}) {
	defer conn.Close()
	action := "dunno"
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "recipient=grey@"):
			select {
			case <-first:
				action = "451 4.7.1 greylisted, come back later"
			default:
			}
		case line == "":
			fmt.Fprintf(conn, "action=%s\n\n", action)
			action = "dunno"
		}
	}
}
