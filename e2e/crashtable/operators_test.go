// SPDX-License-Identifier: Apache-2.0

package crashtable_test

import (
	"slices"
	"testing"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"

	"github.com/postrider/postrider/e2e/suite"
)

// TestQ13_CrashInAScan: the record waits since a first attempt at which the host was busy. An operator has it attempted
// now, and the process ends in each step of the scan: what is copied and not noted is found again, and not copied twice.
func TestQ13_CrashInAScan(t *testing.T) {
	for _, points := range [][]string{
		{"sender.scan.before"},
		{"sender.scan.copied"},
		{"sender.scan.saved"},
		{"sender.scan.copied", "sender.takeover.fenced", "sender.takeover.after"},
	} {
		t.Run(points[0]+" "+points[len(points)-1], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.options.Settings["sender.retry.pauses"] = []string{"10m", "1s"}
			w.remote.putOff(true)
			dead := make(chan struct{})
			w.remote.onData = func() { <-dead } // the attempt that follows comes to nothing before the process ends
			w.launch("").Stop(t)                // makes the streams
			for life, point := range points {
				p := w.launch(point)
				if life == 0 {
					if !w.submit() {
						t.Fatal("the record is not accepted")
					}
					w.awaitAll("deferred", eventv1.RecipientState_RECIPIENT_STATE_DEFERRED)
					w.remote.putOff(false)
					w.retryNow()
				}
				w.die(p)
				if life == 0 {
					close(dead)
				}
			}
			check(t, w, w.finish(), row{})
		})
	}
}

// TestQ13_CrashOnTheWayToParkAndBack: the destination is suspended before the record comes, and resumed later; the
// process ends before and after it lies in PARK, and in each step of the way back.
func TestQ13_CrashOnTheWayToParkAndBack(t *testing.T) {
	for _, point := range []string{
		"sender.park.before", "sender.park.after", "sender.unpark.before", "sender.unpark.copied", "sender.unpark.deleted",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.launch(point)
			w.suspend()
			w.submit() // an answer may be lost with the process
			if point == "sender.park.before" || point == "sender.park.after" {
				w.die(p)
				w.launch("")
				w.submit()
			}
			w.awaitAll("held", eventv1.RecipientState_RECIPIENT_STATE_HELD)
			w.resume()
			if point != "sender.park.before" && point != "sender.park.after" {
				w.die(p)
				w.launch("")
			}
			check(t, w, w.outcome(), row{})
		})
	}
}

func (r *remote) putOff(busy bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = busy
}

// awaitAll waits until every recipient is in a state.
func (w *world) awaitAll(what string, state eventv1.RecipientState) {
	w.t.Helper()
	suite.Await(w.ctx, w.t, w.suite.Mail(w.t), w.id(), what, func(m *gatewayv1.Message) bool {
		return len(m.GetRecipients()) == 5 && !slices.ContainsFunc(m.GetRecipients(), func(r *gatewayv1.RecipientStatus) bool {
			return r.GetState() != state
		})
	})
}

// id is what the record was accepted as.
func (w *world) id() string {
	for id := range w.ids {
		return id
	}
	w.t.Fatal("the record is not accepted")
	return ""
}

func (w *world) operators() gatewayv1.QueueServiceClient {
	return gatewayv1.NewQueueServiceClient(w.suite.Conn(w.t))
}

// again repeats a call until it is answered; a process that ends at its point may take the answer with it.
func (w *world) again(p *suite.Process, call func() error) {
	w.t.Helper()
	for {
		err := call()
		if err == nil {
			return
		}
		select {
		case <-p.Exited():
			return
		case <-w.ctx.Done():
			w.t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (w *world) retryNow() {
	w.t.Helper()
	queue, of := w.operators(), &gatewayv1.Selection{MessageIds: []string{w.id()}}
	w.again(w.suite.Processes["postrider"], func() error {
		_, err := queue.RetryNow(w.ctx, &gatewayv1.RetryNowRequest{Selection: of})
		return err
	})
}

func (w *world) suspend() {
	w.t.Helper()
	if _, err := w.operators().SuspendDestination(w.ctx, &gatewayv1.SuspendDestinationRequest{Domain: "recipient.example"}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) resume() {
	w.t.Helper()
	queue := w.operators()
	w.again(w.suite.Processes["postrider"], func() error {
		_, err := queue.ResumeDestination(w.ctx, &gatewayv1.ResumeDestinationRequest{Domain: "recipient.example"})
		return err
	})
}
