// SPDX-License-Identifier: Apache-2.0

package tenure_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

// unreachable is an attempt at a site none of whose hosts takes a connection.
func unreachable(_ context.Context, r *tenure.Record) *eventv1.Outcome {
	o := answer(r)
	f := &eventv1.Failure{
		Stage: eventv1.Stage_STAGE_CONNECT, Reason: "connect", Status: &eventv1.EnhancedCode{Class: 4, Subject: 4, Detail: 1},
	}
	o.Attempt.Hosts = []*eventv1.HostTry{{Host: "mx.test", Failure: f}}
	for _, result := range o.GetResults() {
		result.Failure = f
	}
	return o
}

// aged is a record that was accepted some time ago.
func aged(id string, age time.Duration, recipient string) *eventv1.QueuedMail {
	m := mail(id, recipient)
	m.AcceptedAt = timestamppb.New(time.Now().Add(-age))
	return m
}

// Q15: three attempts, and then nothing is dialled: the rest waits in the stream nearest to the next probe, with the
// site's error, and no attempt is counted.
func TestQ15_MailForASiteThatIsDownWaitsWithoutAttempts(t *testing.T) {
	w := newWorld(t, 1)
	attempts := newSeen()
	s := w.start("a", 0, func(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
		attempts.note(r)
		return unreachable(ctx, r)
	})
	for i := range 3 {
		w.submit(0, mail(fmt.Sprintf("first%d", i), "always-1@example.test"))
		w.eventually("an attempt", func() bool { return attempts.total() == i+1 })
	}
	for i := range 50 {
		w.submit(0, mail(fmt.Sprintf("m%d", i), "always-1@example.test"))
	}
	spilled := func() (list []*eventv1.QueuedMail) {
		for _, m := range w.copies(bus.RetryStream(1)) {
			if m.GetMovedFor() == "spill" {
				list = append(list, m)
			}
		}
		return list
	}
	w.eventually("all but the one that will probe are moved on", func() bool { return len(spilled()) >= 49 && s.lanes.Waiting() == 1 })
	if n := attempts.total(); n != 3 {
		t.Errorf("%d attempts at a site that is down after three", n)
	}
	for _, m := range spilled() {
		f := m.GetEnvelope().GetRecipients()[0].GetLastFailure()
		if m.GetAttempt() > 1 || f.GetReason() != "site_down" || f.GetStage() != eventv1.Stage_STAGE_CONNECT {
			t.Fatalf("%v", m)
		}
	}
}

// Q04, Q03: mail that only ever spills is told of its delay once, and when its time is over it fails with the site's error.
func TestQ04_Q03_MailThatOnlySpillsIsToldOf(t *testing.T) {
	w := newWorld(t, 1)
	s := w.start("a", 0, unreachable)
	for range 3 {
		s.lanes.Report("example.test", &eventv1.Failure{Stage: eventv1.Stage_STAGE_CONNECT, Reason: "connect"})
	}
	noticed := aged("noticed", 5*time.Hour, "ok@example.test")
	noticed.Envelope.Recipients[0].DelayNoticed = true
	w.submit(0, mail("probe", "ok@example.test"), aged("delayed", 5*time.Hour, "ok@example.test"), noticed,
		aged("expired", 5*24*time.Hour-30*time.Second, "ok@example.test"))
	w.eventually("two outcomes and three moves", func() bool {
		return len(w.outcomes()) == 2 && len(w.copies(bus.RetryStream(1))) == 2 && s.lanes.Waiting() == 1
	})
	for _, o := range w.outcomes() {
		r := o.GetResults()[0]
		switch o.GetMessageId() {
		case "delayed":
			if r.GetState() != deferred || !r.GetDelayNoticeDue() || o.GetAttempt() != nil || r.GetFailure().GetReason() != "site_down" {
				t.Errorf("%v", o)
			}
		case "expired":
			if r.GetState() != expired || r.GetStatus().GetDetail() != 7 || r.GetFailure().GetReason() != "site_down" {
				t.Errorf("%v", o)
			}
		default:
			t.Errorf("outcome of %s", o.GetMessageId())
		}
	}
	for _, m := range w.copies(bus.RetryStream(1)) {
		if !m.GetEnvelope().GetRecipients()[0].GetDelayNoticed() || m.GetAttempt() != 0 {
			t.Errorf("moved on: %v", m)
		}
	}
}

// What a newsletter holds beyond its share is moved on, so that others are read; it comes back as soon as its lane has
// run empty, not only when the minute is over.
func TestQ12_SpilledMailComesBackWhenItsLaneIsEmpty(t *testing.T) {
	w := newWorld(t, 1)
	attempts, open := newSeen(), make(chan struct{})
	w.start("a", 0, func(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
		attempts.note(r)
		if r.Mail.GetDestination() != "news.test" {
			return answer(r)
		}
		select {
		case <-open:
			return answer(r)
		case <-ctx.Done():
			return nil
		}
	}, window(400))
	began := time.Now()
	for i := range 30 {
		var batch []*eventv1.QueuedMail
		for k := range 40 {
			m := mail(fmt.Sprintf("news%d-%d", i, k), "ok@news.test")
			m.Destination = "news.test"
			batch = append(batch, m)
		}
		w.submit(0, batch...)
	}
	w.submit(0, mail("urgent", "ok@example.test"))
	w.finals(1)
	close(open)
	w.finals(1201)
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("all are out after %s", took)
	}
	if n := attempts.total(); n != 1201 {
		t.Errorf("%d attempts", n)
	}
}
