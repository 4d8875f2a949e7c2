// SPDX-License-Identifier: Apache-2.0

//go:build debian

package receiptsthatloop_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/oteltest"
	"github.com/postrider/postrider/testkit/smtptest"
)

// mailSystem is Postfix or Exim as the relay, in a namespace of its own (mta.sh).
type mailSystem struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (m *mailSystem) log() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.String()
}

const (
	// installLimit is for apt-get the first time.
	installLimit = 4 * time.Minute
	stopLimit    = 20 * time.Second
)

// startMailSystem runs one that listens on an address and hands everything to a port, until the end of the test.
func startMailSystem(t *testing.T, kind, address string, port uint16, next string) *mailSystem {
	t.Helper()
	_, nextPort, err := net.SplitHostPort(next)
	if err != nil {
		t.Fatal(err)
	}
	m := &mailSystem{}
	cmd := exec.Command("./mta.sh", filepath.Join(suite.Root(t), "bin", "debian-mta", kind), kind, address, fmt.Sprint(port), nextPort, "mx.relay.example")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			m.mu.Lock()
			m.text.WriteString(lines.Text() + "\n")
			m.mu.Unlock()
		}
		_ = cmd.Wait() // it is killed
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // unshare takes the namespace with all in it along
		select {
		case <-done:
		case <-time.After(stopLimit):
			t.Errorf("%s did not end", kind)
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", kind, m.log())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), installLimit)
	defer cancel()
	ask(ctx, t, kind+" that serves", func() bool {
		select {
		case <-done:
			t.Fatalf("%s ended:\n%s", kind, m.log())
		default:
		}
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, fmt.Sprint(port)), time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return m
}

// TestRealMailSystemsSendTheMailBack: a forwarding loop, and a backup MX that returns to us what its primary does not take.
func TestRealMailSystemsSendTheMailBack(t *testing.T) {
	for _, kind := range []string{"postfix", "exim4"} {
		for name, mx := range map[string]string{
			"forwarding": "b.example MX 10 mx.relay.example\n",
			"backup MX":  "b.example MX 10 dead.relay.example\nb.example MX 20 mx.relay.example\ndead.relay.example A 127.0.0.4\n",
		} {
			t.Run(kind+" "+name, func(t *testing.T) { sendsBack(t, kind, mx) })
		}
	}
}

func sendsBack(t *testing.T, kind, mx string) {
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	port := smtptest.Port(listeners[0])
	for _, l := range []net.Listener{listeners[0], listeners[2]} { // the mail system takes the first, nobody the last
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	home := smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.home.example", Listener: listeners[1]})
	zone := mx + "home.example MX 10 mx.home.example\nmx.home.example A 127.0.0.3\nmx.relay.example A 127.0.0.2\n"
	sink := oteltest.Start(t)
	n := startNode(t, "a", "", suite.Settings{
		"resolver.servers": []string{dnstest.Start(t, zone).Addr().String()}, "sender.smtp_port": port,
	}, sink)
	startMailSystem(t, kind, "127.0.0.2", port, n.smtp)

	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	submit(ctx, t, n, "user@home.example", "b@b.example", letter("user@home.example", "round and round"))
	bounce := home.Wait(1, limit)[0]
	id := regexp.MustCompile(`message (01[0-9A-Z]{24})`).FindSubmatch(bounce.Data)
	if bounce.From != "" || bounce.To()[0] != "user@home.example" || !bytes.Contains(bounce.Data, []byte("5.4.6")) || id == nil {
		t.Fatalf("from %q to %v:\n%s", bounce.From, bounce.To(), bounce.Data)
	}
	explained(ctx, t, n, string(id[1]), "L-04", "1", "refused")
	check := sink.Await(limit, oteltest.Named("gateway.loop_check", "mail.loop.decision", "refuse"))
	if check.Str("mail.loop.rule") != "L-04" || check.Str("mail.loop.values") != "own_trace_returns=2" || check.Str("mail.loop.limit") != "1" {
		t.Errorf("the deciding span: %v", check.Attributes)
	}

	// The original, its one return, and the mail system's bounce: nothing else came or comes.
	ask(ctx, t, "an end", func() bool {
		return len(all(ctx, t, n, eventv1.RecipientState_RECIPIENT_STATE_QUEUED, eventv1.RecipientState_RECIPIENT_STATE_TRYING,
			eventv1.RecipientState_RECIPIENT_STATE_DEFERRED)) == 0
	})
	mark := submit(ctx, t, n, "user@home.example", "mark@home.example", letter("user@home.example", "mark"))
	suite.Await(ctx, t, n.mail, mark, "done", suite.Done)
	var senders []string
	for _, m := range all(ctx, t, n) {
		senders = append(senders, "<"+m.GetSender()+">")
	}
	if got := strings.Join(senders, " "); got != "<user@home.example> <> <user@home.example> <user@home.example>" {
		t.Errorf("messages, the newest first, from %s", got)
	}
	if c := home.Counts().Messages; c != 2 {
		t.Errorf("%d messages came home, want the bounce and the mark", c)
	}
}
