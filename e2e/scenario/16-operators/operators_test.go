// SPDX-License-Identifier: Apache-2.0

package operators_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const (
	zone = `
recipient.example    MX 10 mx.recipient.example
other.example        MX 10 mx.recipient.example
sender.example       MX 10 mx.recipient.example
mx.recipient.example A 127.0.0.1
`
	author   = "author@sender.example"
	patience = 90 * time.Second
)

// world is the all-in-one, and a mail host that is busy until it is told not to be.
type world struct {
	t     *testing.T
	ctx   context.Context
	suite *suite.Suite
	mail  gatewayv1.MailServiceClient
	host  *smtptest.Host

	mu   sync.Mutex
	busy bool
	got  map[string]int // by recipient
}

func start(t *testing.T, more ...suite.Settings) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx, busy: true, got: map[string]int{}}
	w.host = smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.recipient.example", OnRcpt: w.rcpt, OnDot: w.dot})
	t.Cleanup(func() { w.host.ForgiveViolations() }) // a connection that a kill cut off is not the client's fault
	settings := suite.Settings{
		"node.http_listen": "off", "queue.lease_ttl": "2s",
		"resolver.servers": []string{dnstest.Start(t, zone).Addr().String()},
		"sender.smtp_port": w.host.Addr().Port(),
	}
	for _, s := range more {
		maps.Copy(settings, s)
	}
	w.suite = suite.Start(t, suite.AllInOne, suite.Options{Settings: settings})
	w.mail = w.suite.Mail(t)
	return w
}

func (w *world) rcpt(address string, _ []string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy && address != author {
		return "451 4.3.2 busy"
	}
	return ""
}

func (w *world) dot(m *smtptest.Message) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, to := range m.To() {
		w.got[to]++
	}
	return ""
}

func (w *world) ready() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = false
}

func (w *world) deliveries() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for to, k := range w.got {
		if to != author {
			n += k
		}
	}
	return n
}

func (w *world) arrived(n int) {
	w.t.Helper()
	if err := w.host.WaitFor(w.ctx, func(smtptest.Counts) bool { return w.deliveries() >= n }); err != nil {
		w.t.Fatalf("%d of %d deliveries: %v", w.deliveries(), n, err)
	}
}

func (w *world) submit(to string) (id string) {
	w.t.Helper()
	return suite.Submit(w.ctx, w.t, w.mail, []byte("From: <"+author+">\r\nSubject: wait\r\n\r\nText.\r\n"), author, to)
}

func (w *world) await(id string, state eventv1.RecipientState) *gatewayv1.RecipientStatus {
	w.t.Helper()
	m := suite.Await(w.ctx, w.t, w.mail, id, state.String(), func(m *gatewayv1.Message) bool {
		return len(m.GetRecipients()) > 0 && m.GetRecipients()[0].GetState() == state
	})
	return m.GetRecipients()[0]
}

// run runs a command of the command line.
func (w *world) run(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.ctx, suite.Program(w.t, "postrider"), append(args, "--server", w.suite.Gateway)...)
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("postrider %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), failed.String())
	}
	return out.String()
}

const (
	deferred  = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
	delivered = eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
	held      = eventv1.RecipientState_RECIPIENT_STATE_HELD
	cancelled = eventv1.RecipientState_RECIPIENT_STATE_CANCELLED
)

// TestQ13_RetryNow: mail that waits five minutes is attempted when an operator says so; what was not meant waits on.
func TestQ13_RetryNow(t *testing.T) {
	w := start(t)
	one, two := w.submit("one@recipient.example"), w.submit("two@recipient.example")
	w.await(one, deferred)
	w.await(two, deferred)
	w.ready()
	if out := w.run("queue", "retry", one); !strings.HasPrefix(out, "attempted now (change ") {
		t.Errorf("printed %q", out)
	}
	if r := w.await(one, delivered); len(r.GetAttempts()) != 2 || r.GetPossibleDuplicate() {
		t.Errorf("%v", r)
	}
	if r := w.await(two, deferred); len(r.GetAttempts()) != 1 {
		t.Errorf("what was not meant was attempted: %v", r)
	}
	w.run("queue", "retry", "recipient.example")
	w.await(two, delivered)
}

// TestQ13_Cancel: mail that waits is cancelled at once, its sender is told if that is wanted, and it never goes out.
func TestQ13_Cancel(t *testing.T) {
	w := start(t)
	id := w.submit("one@recipient.example")
	w.await(id, deferred)
	if out := w.run("cancel", id, "--notify"); !strings.Contains(out, "one@recipient.example cancel") {
		t.Errorf("printed %q", out)
	}
	w.await(id, cancelled)
	w.ready()
	w.run("queue", "retry", "--all")
	if err := w.host.WaitFor(w.ctx, func(smtptest.Counts) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.got[author] == 1
	}); err != nil {
		t.Fatalf("no notification: %v", err)
	}
	var again struct {
		Messages []struct {
			State      string
			Recipients []struct{ State string }
		}
	}
	if err := json.Unmarshal([]byte(w.run("cancel", id, "--json")), &again); err != nil || again.Messages[0].Recipients[0].State != "cancelled" {
		t.Errorf("%+v, %v", again, err)
	}
	if w.deliveries() != 0 {
		t.Error("cancelled mail was delivered")
	}
}

// TestQ13_HoldAndRelease: a held message is not attempted, whatever else is said, until it is released.
func TestQ13_HoldAndRelease(t *testing.T) {
	w := start(t)
	one, two := w.submit("one@recipient.example"), w.submit("two@recipient.example")
	w.await(one, deferred)
	w.await(two, deferred)
	w.run("queue", "hold", one)
	if r := w.await(one, held); r.GetReason() != "held" || r.GetNextAttemptAt() != nil {
		t.Errorf("%v", r)
	}
	w.ready()
	w.run("queue", "retry", "recipient.example")
	w.await(two, delivered)
	w.await(one, held)
	if out := w.run("list", "--state", "held"); !strings.Contains(out, one) || strings.Contains(out, two) {
		t.Errorf("printed %q", out)
	}
	w.run("queue", "release", one)
	w.await(one, delivered)
}

// TestQ13_SuspendAndResume: mail to a suspended destination lies still, that of another on the same host goes out.
func TestQ13_SuspendAndResume(t *testing.T) {
	w := start(t)
	waits := w.submit("waits@recipient.example")
	w.await(waits, deferred)
	w.ready()
	w.run("queue", "suspend", "recipient.example", "--reason", "they are moving")
	comes, other := w.submit("comes@recipient.example"), w.submit("other@other.example")
	w.await(other, delivered)
	for _, id := range []string{waits, comes} {
		if r := w.await(id, held); r.GetReason() != "suspended" {
			t.Errorf("%v", r)
		}
	}
	if out := w.run("queue", "list"); !strings.Contains(out, "recipient.example  2") || !strings.Contains(out, "by loopback") {
		t.Errorf("printed:\n%s", out)
	}
	w.run("queue", "retry", "recipient.example") // what waited is parked by this; it is suspended all the same
	w.suite.Processes["postrider"].Kill(t)
	w.relaunch()
	w.await(comes, held)
	w.await(waits, held)
	if w.deliveries() != 1 {
		t.Errorf("%d deliveries while suspended", w.deliveries())
	}
	w.run("queue", "resume", "recipient.example")
	w.await(waits, delivered)
	w.await(comes, delivered)
	if out := w.run("queue", "list"); strings.Contains(out, "suspended") && strings.Contains(out, "recipient.example") {
		t.Errorf("printed:\n%s", out)
	}
}

func (w *world) relaunch() {
	w.t.Helper()
	w.suite.Gateway = w.suite.Launch(w.t, "postrider", "postrider", nil).Serving(w.t)
	w.mail = w.suite.Mail(w.t)
}

const many = 400

// TestQ13_KilledInTheMiddleOfAScan: the process is killed while a scan goes through what waits, and again while one goes
// through PARK. Everything goes out, and what goes out twice is marked.
func TestQ13_KilledInTheMiddleOfAScan(t *testing.T) {
	for name, do := range map[string]struct{ aside, begin []string }{
		"retry":  {nil, []string{"queue", "retry", "recipient.example"}},
		"resume": {[]string{"queue", "suspend", "recipient.example"}, []string{"queue", "resume", "recipient.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			if do.aside != nil {
				w.run(do.aside...)
			}
			ids := w.submitMany()
			state := deferred
			if do.aside != nil {
				state = held
			}
			for _, id := range ids {
				w.await(id, state)
			}
			w.ready()
			w.run(do.begin...)
			w.arrived(1)
			w.suite.Processes["postrider"].Kill(t)
			w.relaunch()
			for _, id := range ids {
				r := w.await(id, delivered)
				w.mu.Lock()
				n := w.got[r.GetAddress()]
				w.mu.Unlock()
				if n == 0 || n > 1 && !r.GetPossibleDuplicate() {
					t.Errorf("%s was delivered %d times, marked %v", r.GetAddress(), n, r.GetPossibleDuplicate())
				}
			}
		})
	}
}

// submitMany hands in many messages at once, so that they share segments.
func (w *world) submitMany() []string {
	w.t.Helper()
	ids := make([]string, many)
	var running sync.WaitGroup
	for i := range ids {
		running.Go(func() { ids[i] = w.submit(fmt.Sprintf("r%d@recipient.example", i)) })
	}
	running.Wait()
	if slices.Contains(ids, "") {
		w.t.FailNow()
	}
	return ids
}
