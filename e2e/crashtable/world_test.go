// SPDX-License-Identifier: Apache-2.0

package crashtable_test

import (
	"bytes"
	"context"
	"fmt"
	"net/mail"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/e2e/suite"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const (
	delivered = "delivered@recipient.example"
	bounced   = "bounced@recipient.example"
	deferred  = "deferred@recipient.example"
	split     = "split@recipient.example"
	ambiguous = "ambiguous@recipient.example"
	author    = "author@sender.example"
	// other is the one recipient of a second record.
	other = "other@other.example"
)

// five are the recipients of the record.
func five() []string { return []string{delivered, bounced, deferred, split, ambiguous} }

// patience bounds each step of a row; it is long, for machines that do much else.
const patience = 2 * time.Minute

// remote is the mail host of recipients and sender, or that of the second record.
type remote struct {
	host *smtptest.Host
	// onData, when set, is called once, with the first DATA.
	onData func()
	// onEveryData is called with each.
	onEveryData func()
	// hello is the name of whoever greeted last.
	hello string

	mu          sync.Mutex
	busy        bool // every recipient is put off
	taken       int  // recipients of the transaction
	deferredYet bool
	lostYet     bool
	got         map[string]int  // deliveries by recipient
	notices     map[string]bool // Message-IDs of notifications
}

func newRemote(t *testing.T, listen string) *remote {
	r := &remote{got: map[string]int{}, notices: map[string]bool{}}
	r.host = smtptest.NewHost(t, smtptest.HostOptions{
		Name: "mx.example", ListenAddr: listen, OnHello: r.greeted, OnMail: r.from, OnRcpt: r.rcpt, OnData: r.data, OnDot: r.dot,
	})
	t.Cleanup(func() { r.host.ForgiveViolations() }) // a connection that a kill cut off is not the client's fault
	return r
}

func (r *remote) greeted(_, name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hello = name
	return ""
}

func (r *remote) from(string, []string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken = 0
	return ""
}

// rcpt answers as the recipient's name says: the split and the ambiguous one get a transaction of their own.
func (r *remote) rcpt(address string, _ []string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.busy:
		return "451 4.3.2 busy"
	case address == bounced:
		return "550 5.1.1 unknown"
	case address == deferred && !r.deferredYet:
		r.deferredYet = true
		return "450 4.2.1 later"
	case (address == split || address == ambiguous) && r.taken > 0:
		return "452 4.5.3 too many recipients"
	}
	r.taken++
	return ""
}

func (r *remote) data(string, []smtptest.Recipient) string {
	r.mu.Lock()
	hook := r.onData
	r.onData = nil
	r.mu.Unlock()
	if r.onEveryData != nil {
		r.onEveryData()
	}
	if hook != nil {
		hook()
	}
	return ""
}

// dot counts a delivery. The first dot of the ambiguous recipient is not answered, though the message is taken.
func (r *remote) dot(m *smtptest.Message) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, to := range m.To() {
		r.got[to]++
	}
	if parsed, err := mail.ReadMessage(bytes.NewReader(m.Data)); err == nil && m.From == "" {
		r.notices[parsed.Header.Get("Message-Id")] = true
	}
	if slices.Equal(m.To(), []string{ambiguous}) && !r.lostYet {
		r.lostYet = true
		return smtptest.CloseNow
	}
	return ""
}

func (r *remote) count(address string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[address]
}

func (r *remote) notifications() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.notices)
}

// world is the all-in-one and what it sends to.
type world struct {
	t       *testing.T
	remote  *remote
	suite   *suite.Suite
	options suite.Options
	ctx     context.Context
	wait    time.Duration   // until not_before, from the first submission
	first   time.Time       // submission
	ids     map[string]bool // what submissions were answered with
	to      []string        // recipients
	more    suite.Settings  // and env: of the processes to come
	env     []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	w := &world{t: t, remote: newRemote(t, "127.0.0.1:0"), ctx: ctx, ids: map[string]bool{}, to: five()}
	zones := ""
	for n := range transactions { // each a site of its own: to one site two connections are opened at first
		zones += fmt.Sprintf("u%d.example MX 10 mx%d.u.example\nmx%d.u.example A 127.0.0.2\n", n, n, n)
	}
	zone := dnstest.Start(t, zones+"recipient.example MX 10 mx.example\nother.example MX 10 mx2.example\nmx2.example A 127.0.0.2\nsender.example MX 10 mx.example\nmx.example A 127.0.0.1\n")
	w.options = suite.Options{Crashable: true, Settings: suite.Settings{
		"node.http_listen":             "off",
		"resolver.servers":             []string{zone.Addr().String()},
		"sender.smtp_port":             w.remote.host.Addr().Port(),
		"sender.retry.pauses":          []string{"1s"},
		"sender.retry.ambiguous_pause": "1s",
		"queue.lease_ttl":              "2s",
	}}
	w.suite = suite.New(t, w.options)
	return w
}

// launch starts the all-in-one, to end at a point; "" is none.
func (w *world) launch(point string) *suite.Process {
	w.t.Helper()
	p := w.suite.Launch(w.t, "postrider", "postrider", w.more, append([]string{"POSTRIDER_CRASH_AT=" + point}, w.env...)...)
	if p.ServingOrGone(w.t) {
		w.suite.Gateway = p.Serving(w.t)
	}
	return p
}

// submit submits the record under its key until it is accepted, as long as the process lives. It reports whether it was.
func (w *world) submit() bool {
	w.t.Helper()
	p, mail := w.suite.Processes[gateway(w.suite)], w.suite.Mail(w.t)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := mail.Submit(w.ctx, w.request())
		if err == nil {
			w.ids[answer.GetAccepted().GetMessageId()] = true
			return true
		}
		select {
		case <-p.Exited():
			return false
		case <-w.ctx.Done():
			w.t.Fatalf("not accepted: %v", err)
		case <-tick.C:
		}
	}
}

func (w *world) request() *gatewayv1.SubmitRequest {
	e := &gatewayv1.Envelope{Sender: author, IdempotencyKey: "the key"}
	for _, to := range w.to {
		e.Recipients = append(e.Recipients, &gatewayv1.Recipient{Address: to})
	}
	if w.first.IsZero() {
		w.first = time.Now()
	}
	if w.wait > 0 {
		e.NotBefore = timestamppb.New(w.first.Add(w.wait))
	}
	return &gatewayv1.SubmitRequest{
		Envelope: e, Content: []byte("From: <" + author + ">\r\nMessage-ID: <five@sender.example>\r\nSubject: five\r\n\r\nText.\r\n"),
	}
}

// gateway is the process that has the gateway in it.
func gateway(s *suite.Suite) string {
	if s.Processes["postrider"] != nil {
		return "postrider"
	}
	return "gateway"
}

// die waits until the process has ended by SIGKILL.
func (w *world) die(p *suite.Process) {
	w.t.Helper()
	select {
	case <-p.Exited():
	case <-time.After(patience):
		w.t.Fatalf("the process has not come to its point; its log:\n%s", p.Log())
	}
	if !p.Killed() {
		w.t.Fatalf("the process has ended, and not by SIGKILL; its log:\n%s", p.Log())
	}
}

// finish starts the last process and ends the row.
func (w *world) finish() *gatewayv1.Message {
	w.t.Helper()
	w.launch("")
	return w.outcome()
}

// outcome submits once more and waits until the record is final and the notification is there.
func (w *world) outcome() *gatewayv1.Message {
	w.t.Helper()
	if !w.submit() {
		w.t.Fatal("the record is not accepted")
	}
	m := suite.Await(w.ctx, w.t, w.suite.Mail(w.t), w.onlyID(), "done", suite.Done)
	if err := w.remote.host.WaitFor(w.ctx, func(smtptest.Counts) bool { return w.remote.notifications() > 0 }); err != nil {
		w.t.Fatalf("no notification: %v", err)
	}
	return m
}

// onlyID is what every submission was answered with.
func (w *world) onlyID() (id string) {
	w.t.Helper()
	if len(w.ids) != 1 {
		w.t.Fatalf("one key was answered with %d messages", len(w.ids))
	}
	for id = range w.ids {
	}
	return id
}
