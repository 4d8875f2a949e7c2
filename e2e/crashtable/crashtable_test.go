// SPDX-License-Identifier: Apache-2.0

package crashtable_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/smtptest"
)

// row is a row of the crash table.
type row struct {
	name string
	// points are where the process ends, life by life.
	points []string
	// again is how often what the host had answered with 250 comes once more.
	again int
	// wait is how long the record waits before its first attempt.
	wait time.Duration
	// settled: nothing of it can have come twice, so nothing but the ambiguous recipient may be marked.
	settled bool
}

func rows() []row {
	return []row{
		{name: "before the segment's ack", points: []string{"gateway.accept.before"}, settled: true},
		{name: "after the segment's ack", points: []string{"gateway.accept.after"}},
		{name: "between the remote's 250 and the outcome", points: []string{"sender.outcome.before"}, again: 1},
		{name: "between outcome and retry", points: []string{"sender.outcome.after"}, settled: true},
		{name: "after the retry", points: []string{"sender.retry.after"}},
		{name: "before a move, and after it", points: []string{"sender.move.before", "sender.move.after"}, wait: 65 * time.Second},
		{name: "two crashes in a row before the outcome", points: []string{"sender.outcome.before", "sender.outcome.before"}, again: 2},
		{
			name: "crash before the outcome, then in each step of the takeover", again: 1,
			points: []string{"sender.outcome.before", "sender.takeover.before", "sender.takeover.fenced", "sender.takeover.after"},
		},
		{
			name:   "crash after the outcome, then in each step of the takeover",
			points: []string{"sender.outcome.after", "sender.takeover.before", "sender.takeover.fenced", "sender.takeover.after"},
		},
		{name: "before the notification is handed in", points: []string{"dsn.submit.before"}},
		{name: "after the notification was handed in", points: []string{"dsn.submit.after"}},
		{name: "before the cursor moves", points: []string{"dsn.cursor.before"}},
		{name: "after the cursor moved", points: []string{"dsn.cursor.after"}},
	}
}

// TestQ09_CrashTable goes through the rows that one process's crash makes up.
func TestQ09_CrashTable(t *testing.T) {
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.wait = r.wait
			for life, point := range r.points {
				p := w.launch(point)
				if life == 0 {
					w.submit() // an answer may be lost with the process
				}
				w.die(p)
			}
			check(t, w, w.finish(), r)
		})
	}
}

// TestQ09_CrashBeforeTheDot: what was not sent whole is attempted again.
func TestQ09_CrashBeforeTheDot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	inData, dead := make(chan struct{}), make(chan struct{})
	w.remote.onData = func() {
		close(inData)
		<-dead
	}
	p := w.launch("")
	if !w.submit() {
		t.Fatal("the record is not accepted")
	}
	select {
	case <-inData:
	case <-time.After(patience):
		t.Fatalf("no DATA; the log:\n%s", p.Log())
	}
	p.Kill(t)
	close(dead)
	check(t, w, w.finish(), row{})
}

// TestQ07_TakeoverWhileInDATA: the owner of the partition is stopped in DATA until another has taken over and delivered,
// and then goes on. Its outcome is refused by the fence; what both delivered is marked.
func TestQ07_TakeoverWhileInDATA(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	inData, stopped := make(chan string), make(chan struct{})
	w.remote.onData = func() {
		inData <- w.remote.hello
		<-stopped
	}
	w.options.Settings["queue.partitions"] = 1
	w.suite = suite.Start(t, suite.FourProcesses, w.options)
	second := w.suite.Launch(t, "sender", "sender-2", suite.Settings{"node.name": "second.example"})
	second.Serving(t)
	if !w.submit() {
		t.Fatal("the record is not accepted")
	}
	var owner *suite.Process
	select {
	case name := <-inData:
		owner = w.suite.Processes["sender"]
		if name == "second.example" {
			owner = second
		}
	case <-time.After(patience):
		t.Fatal("no DATA")
	}
	owner.Suspend(t)
	close(stopped)
	if err := w.remote.host.WaitFor(w.ctx, func(smtptest.Counts) bool { return w.remote.count(ambiguous) == 2 }); err != nil {
		t.Fatalf("the other sender has not delivered: %v", err)
	}
	owner.Signal(syscall.SIGCONT)
	if err := w.remote.host.WaitFor(w.ctx, func(smtptest.Counts) bool { return w.remote.count(delivered) == 2 }); err != nil {
		t.Fatalf("the former owner has not gone on: %v", err)
	}
	m := w.outcome()
	for address, n := range map[string]int{delivered: 2, split: 1, bounced: 0, deferred: 1, ambiguous: 2} {
		if got := w.remote.count(address); got != n {
			t.Errorf("%s was delivered %d times, want %d", address, got, n)
		}
	}
	wellTold(t, w, m, row{})
}

// check compares what has arrived, and what is said of it, with the row.
func check(t *testing.T, w *world, m *gatewayv1.Message, r row) {
	t.Helper()
	// The ambiguous recipient gets it twice by itself: its first dot is not answered.
	want := map[string]int{
		delivered: 1 + r.again, split: 1 + r.again, bounced: 0, deferred: 1, ambiguous: 2,
	}
	// After crash upon crash the host takes it for the deferred and the ambiguous recipient in the second attempt too.
	want[ambiguous] += max(0, r.again-1)
	want[deferred] += max(0, r.again-1)
	for address, n := range want {
		if got := w.remote.count(address); got != n {
			t.Errorf("%s was delivered %d times, want %d", address, got, n)
		}
	}
	wellTold(t, w, m, r)
}

// wellTold checks that there is one notification, and that every recipient is final and marked where it must be.
func wellTold(t *testing.T, w *world, m *gatewayv1.Message, r row) {
	t.Helper()
	if n := w.remote.notifications(); n != 1 {
		t.Errorf("%d notifications", n)
	}
	for _, s := range m.GetRecipients() {
		state := eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
		if s.GetAddress() == bounced {
			state = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
		}
		if s.GetState() != state {
			t.Errorf("%s is %s", s.GetAddress(), s.GetState())
		}
		switch twice := w.remote.count(s.GetAddress()) > 1; {
		case twice && !s.GetPossibleDuplicate():
			t.Errorf("%s was delivered twice and is not marked", s.GetAddress())
		case !twice && r.settled && s.GetPossibleDuplicate() && s.GetAddress() != deferred:
			t.Errorf("%s is marked, and nothing was in doubt", s.GetAddress())
		}
	}
	if len(m.GetRecipients()) != len(w.to) {
		t.Errorf("%d recipients", len(m.GetRecipients()))
	}
}
