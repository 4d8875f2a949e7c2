// SPDX-License-Identifier: Apache-2.0

// Package receiptsthatloop_test lets mail go in circles between two complete suites, and sends legal mail that looks as if
// it did.
package receiptsthatloop_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/oteltest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const (
	// zone has the relay for the MX of both sides, and a host for the marks that end a test.
	zone = `
a.example         MX 10 mx.relay.example
b.example         MX 10 mx.relay.example
mx.relay.example  A  127.0.0.2
marks.example     MX 10 mx.marks.example
mx.marks.example  A  127.0.0.3
`
	// limit is how long a test may take, mostRounds how often mail may come round.
	limit      = 2 * time.Minute
	mostRounds = 10
)

// node is one complete suite.
type node struct {
	*suite.Suite
	name string
	smtp string // its SMTP listener
	mail gatewayv1.MailServiceClient
}

func startNode(t *testing.T, name, dir string, settings suite.Settings, sink *oteltest.Sink) *node {
	t.Helper()
	all := suite.Settings{
		"node.name": name + ".postrider.example", "gateway.smtp_listen": "127.0.0.1:0",
		"gateway.smtp_trusted_networks": []string{"127.0.0.0/8"},
	}
	for key, value := range settings {
		all[key] = value
	}
	s := suite.Start(t, suite.AllInOne, suite.Options{Settings: all, Env: sink.Env(), Dir: dir})
	line := s.Processes["postrider"].WaitLine(t, "SMTP", func(line map[string]any) bool { return line["smtp"] != nil })
	return &node{Suite: s, name: name, smtp: line["smtp"].(string), mail: s.Mail(t)}
}

// passing is one message the relay handed on.
type passing struct {
	to       string // name of the node
	refused  string // reply, "" when it was taken
	nullFrom bool
}

// relay takes mail of each node and hands it to the other one, changed.
type relay struct {
	t       *testing.T
	host    *smtptest.Host
	change  func(n int, to *node, m *smtptest.Message) (content []byte, recipients []string)
	nodes   map[string]*node // by the name behind EHLO
	queue   chan *smtptest.Message
	stopped chan struct{}

	mu      sync.Mutex
	handed  []passing
	changed chan struct{}
}

const refusedMailbox = "nobody@b.example"

func startRelay(t *testing.T, l net.Listener, change func(int, *node, *smtptest.Message) ([]byte, []string)) *relay {
	t.Helper()
	r := &relay{t: t, change: change, queue: make(chan *smtptest.Message, 1000), stopped: make(chan struct{}), changed: make(chan struct{})}
	r.host = smtptest.NewHost(t, smtptest.HostOptions{
		Name: "mx.relay.example", Listener: l,
		OnRcpt: func(address string, _ []string) string {
			if strings.HasPrefix(address, "nobody") {
				return "550 5.1.1 no mailbox of that name here"
			}
			return ""
		},
		OnDot: func(m *smtptest.Message) string {
			own := *m
			own.Data = bytes.Clone(m.Data)
			r.queue <- &own
			return ""
		},
	})
	return r
}

// run hands on until the end of the test.
func (r *relay) run(nodes ...*node) {
	r.nodes = map[string]*node{nodes[0].name + ".postrider.example": nodes[1], nodes[1].name + ".postrider.example": nodes[0]}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(r.stopped)
		for {
			select {
			case m := <-r.queue:
				r.hand(m)
			case <-ctx.Done():
				return
			}
		}
	}()
	r.t.Cleanup(func() { cancel(); <-r.stopped })
}

func (r *relay) hand(m *smtptest.Message) {
	to := r.nodes[m.Helo]
	if to == nil {
		r.t.Errorf("mail from %s", m.Helo)
		return
	}
	content, recipients := r.change(len(r.passed()), to, m)
	p := passing{to: to.name, nullFrom: m.From == ""}
	err := handIn(to.smtp, m.From, content, recipients...)
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		p.refused = fmt.Sprintf("%d %s", reply.Code, reply.Msg)
	} else if err != nil {
		r.t.Errorf("hand on: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handed = append(r.handed, p)
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *relay) passed() []passing {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]passing(nil), r.handed...)
}

// await waits until the relay has nothing left and what it handed on satisfies ok.
func (r *relay) await(ctx context.Context, what string, ok func([]passing) bool) []passing {
	r.t.Helper()
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if all := r.passed(); ok(all) {
			return all
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r.t.Fatalf("not %s: %+v", what, r.passed())
		}
	}
}

// handIn gives a message to an SMTP listener.
func handIn(address, from string, content []byte, recipients ...string) error {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, "127.0.0.1")
	if err != nil {
		return err
	}
	if err := c.Hello("mx.relay.example"); err != nil {
		return err
	}
	if err := c.Mail(from); err != nil {
		return err
	}
	for _, to := range recipients {
		if err := c.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// without drops header fields by name.
func without(content []byte, names ...string) []byte {
	head, body, _ := bytes.Cut(content, []byte("\r\n\r\n"))
	var kept []byte
	drop := false
	for line := range bytes.Lines(append(head, "\r\n"...)) {
		if line[0] != ' ' && line[0] != '\t' {
			name, _, _ := strings.Cut(string(line), ":")
			drop = false
			for _, n := range names {
				drop = drop || strings.EqualFold(name, n)
			}
		}
		if !drop {
			kept = append(kept, line...)
		}
	}
	return append(append(kept, "\r\n"...), body...)
}

func withField(field string, content []byte) []byte { return append([]byte(field+"\r\n"), content...) }

// submit hands in a message by gRPC.
func submit(ctx context.Context, t *testing.T, n *node, from, to, content string) string {
	t.Helper()
	return suite.Submit(ctx, t, n.mail, []byte(content), from, to)
}

func letter(from, subject string) string {
	return "From: " + from + "\r\nSubject: " + subject + "\r\nDate: Mon, 02 Nov 2026 09:30:00 +0100\r\n\r\nHello.\r\n"
}

// all lists every message of a node.
func all(ctx context.Context, t *testing.T, n *node, states ...eventv1.RecipientState) []*gatewayv1.Message {
	t.Helper()
	answer, err := n.mail.ListMessages(ctx, &gatewayv1.ListMessagesRequest{PageSize: 1000, States: states})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetMessages()
}

// settled waits until nothing is under way at a node and its dsn has handled every outcome so far: dsn takes them in
// order, so a notification about a mark that is submitted last comes last.
func settled(ctx context.Context, t *testing.T, marks *smtptest.Host, n *node) {
	t.Helper()
	mark := submit(ctx, t, n, "mark@marks.example", refusedMailbox, letter("mark@marks.example", "mark of "+n.name))
	suite.Await(ctx, t, n.mail, mark, "done", suite.Done)
	ask(ctx, t, "a notification about the mark of "+n.name, func() bool {
		for _, m := range marks.Messages() {
			if m.From == "" && bytes.Contains(m.Data, []byte("mark of "+n.name)) {
				return true
			}
		}
		return false
	})
	ask(ctx, t, "an empty queue at "+n.name, func() bool {
		return len(all(ctx, t, n, eventv1.RecipientState_RECIPIENT_STATE_QUEUED, eventv1.RecipientState_RECIPIENT_STATE_TRYING,
			eventv1.RecipientState_RECIPIENT_STATE_DEFERRED)) == 0
	})
}

// ask asks until the answer is yes.
func ask(ctx context.Context, t *testing.T, what string, yes func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no %s", what)
		}
	}
}

// start makes the relay's port, the DNS and the host of the marks.
func start(t *testing.T, change func(int, *node, *smtptest.Message) ([]byte, []string)) (r *relay, marks *smtptest.Host, settings suite.Settings) {
	t.Helper()
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3")
	r = startRelay(t, listeners[0], change)
	marks = smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.marks.example", Listener: listeners[1]})
	return r, marks, suite.Settings{
		"resolver.servers": []string{dnstest.Start(t, zone).Addr().String()}, "sender.smtp_port": smtptest.Port(listeners[0]),
	}
}
