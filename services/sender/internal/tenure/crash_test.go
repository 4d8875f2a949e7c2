// SPDX-License-Identifier: Apache-2.0

package tenure_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/settle"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

// seen counts attempts by message id.
type seen struct {
	mu       sync.Mutex
	attempts map[string]int
	marked   map[string]bool
}

func newSeen() *seen { return &seen{attempts: make(map[string]int), marked: make(map[string]bool)} }

func (s *seen) note(r *tenure.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts[r.Mail.GetMessageId()]++
	s.marked[r.Mail.GetMessageId()] = r.Mail.GetPossibleDuplicate()
}

func (s *seen) of(id string) (attempts int, marked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts[id], s.marked[id]
}

func (s *seen) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, k := range s.attempts {
		n += k
	}
	return n
}

// counting delivers and notes it.
func (s *seen) counting(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
	s.note(r)
	return answer(r)
}

// hanging notes the attempt, and ends without an outcome when it is given up: as a process that is killed in DATA.
func (s *seen) hanging(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
	s.note(r)
	<-ctx.Done()
	return nil
}

// former stores what an owner leaves that is killed after it has stored some outcomes, but not what follows from them.
func (w *world) former(partition int, read []*eventv1.QueuedMail, sequence uint64, outcomes ...*eventv1.Outcome) {
	w.t.Helper()
	taken, err := bus.TakeOver(w.ctx, w.js, partition, bus.TakeOverOptions{Owner: "former"})
	w.must(err)
	a := bus.NewAppender(w.js, bus.AppenderOptions{
		Fence: taken.Fences[bus.OutcomeSubject(bus.Quiet, partition)],
		Header: func(h nats.Header) {
			w.must(bus.SetCheckpoint(h, &eventv1.Checkpoint{
				Window: uint32(len(read)), Floors: []*eventv1.Floor{{Stream: bus.StreamMail, Sequence: sequence}},
			}))
		},
	})
	defer func() { w.must(a.Close(w.ctx)) }()
	var frames []bus.Frame
	for _, o := range outcomes {
		f, err := bus.FrameOutcome(o)
		w.must(err)
		frames = append(frames, f)
	}
	_, err = a.Append(w.ctx, frames)
	w.must(err)
}

func storedOutcome(m *eventv1.QueuedMail, at ledger.Place, states ...eventv1.RecipientState) *eventv1.Outcome {
	o := settle.FromRecord(m, at, time.Now())
	o.ExpiresAt = timestamppb.New(time.Now().Add(time.Hour))
	o.Attempt = &eventv1.Attempt{Number: 1}
	for i, s := range states {
		r := &eventv1.RecipientResult{Recipient: m.GetEnvelope().GetRecipients()[i], State: s}
		if s == deferred {
			r.Pause = durationpb.New(20 * time.Millisecond)
			o.Pause = r.Pause
		}
		o.Results = append(o.Results, r)
	}
	return o
}

func TestQ09_CrashBetweenOutcomeAndRetry(t *testing.T) {
	w := newWorld(t, 1)
	m := mail("m1", "done@example.test", "defer-x@example.test")
	w.submit(0, m)
	w.former(0, []*eventv1.QueuedMail{m}, 1, storedOutcome(m, ledger.Place{Stream: bus.StreamMail, Sequence: 1}, delivered, deferred))
	attempts := newSeen()
	w.start("a", 0, attempts.counting)
	w.finals(2)
	copies := w.copies(bus.RetryStream(0))
	if len(copies) != 1 || len(copies[0].GetEnvelope().GetRecipients()) != 1 || copies[0].GetAttempt() != 1 {
		t.Fatalf("carried on: %v", copies)
	}
	if n, marked := attempts.of("m1"); n != 1 || marked {
		t.Errorf("%d attempts, marked %v: only the deferred recipient is attempted, once", n, marked)
	}
}

func TestQ08_CrashDuringAttempts(t *testing.T) {
	w := newWorld(t, 1)
	var mails []*eventv1.QueuedMail
	for i := range 10 {
		mails = append(mails, mail(fmt.Sprintf("m%d", i), "ok@example.test"))
	}
	w.submit(0, mails...)
	first := newSeen()
	a := w.start("a", 0, first.hanging)
	w.eventually("ten attempts", func() bool { return first.total() == 10 })
	a.kill()

	second := newSeen()
	w.start("b", 0, second.counting)
	all := w.finals(10)
	for _, o := range all {
		if !o.GetResults()[0].GetPossibleDuplicate() {
			t.Errorf("%s may have been sent twice and is not marked", o.GetId())
		}
	}
	if second.total() != 10 {
		t.Errorf("%d attempts", second.total())
	}
	w.submit(0, mail("later", "ok@example.test"))
	w.finals(11)
	if _, marked := second.of("later"); marked {
		t.Error("what was accepted after the takeover is marked")
	}
}

func TestQ09_HalfASegmentSettled(t *testing.T) {
	w := newWorld(t, 1)
	var mails []*eventv1.QueuedMail
	for i := range 20 {
		mails = append(mails, mail(fmt.Sprintf("m%d", i), "ok@example.test"))
	}
	w.submit(0, mails...)
	first := newSeen()
	a := w.start("a", 0, func(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
		if r.Place.Index < 10 {
			return first.counting(ctx, r)
		}
		return first.hanging(ctx, r)
	})
	w.finals(10)
	a.kill()
	second := newSeen()
	w.start("b", 0, second.counting)
	w.finals(20)
	for i := range 20 {
		n, marked := second.of(fmt.Sprintf("m%d", i))
		if want := i / 10; n != want || marked != (want == 1) {
			t.Errorf("m%d: %d further attempts, marked %v", i, n, marked)
		}
	}
}

func TestQ08_TwoCrashesInARow(t *testing.T) {
	w := newWorld(t, 1)
	w.submit(0, mail("m1", "ok@example.test"))
	for i := range 2 {
		attempts := newSeen()
		s := w.start(fmt.Sprintf("s%d", i), 0, attempts.hanging)
		w.eventually("an attempt", func() bool { return attempts.total() == 1 })
		s.kill()
	}
	w.start("last", 0, deliver)
	all := w.finals(1)
	if len(all) != 1 || !all[0].GetResults()[0].GetPossibleDuplicate() {
		t.Errorf("%v", all)
	}
}

// The owner after a crash is itself stopped in order before it could settle what it has to mark: its checkpoint must not
// be clean, or its successor does not mark.
func TestQ08_CrashThenOrderlyStop(t *testing.T) {
	w := newWorld(t, 1)
	w.submit(0, mail("m1", "ok@example.test"))
	attempts := newSeen()
	a := w.start("a", 0, attempts.hanging)
	w.eventually("an attempt", func() bool { return attempts.total() == 1 })
	a.kill()
	b := w.start("b", 0, attempts.hanging)
	w.eventually("a second attempt", func() bool { return attempts.total() == 2 })
	if b.stop() {
		t.Error("clean, though a record that may have been delivered is not settled")
	}
	w.start("c", 0, deliver)
	if all := w.finals(1); !all[0].GetResults()[0].GetPossibleDuplicate() {
		t.Error("not marked")
	}
}

func TestQ08_NothingIsMarkedAfterAnOrderlyStop(t *testing.T) {
	w := newWorld(t, 1)
	w.submit(0, mail("m1", "ok@example.test"), mail("m2", "ok@example.test"))
	attempts := newSeen()
	a := w.start("a", 0, attempts.hanging)
	w.eventually("attempts", func() bool { return attempts.total() == 2 })
	if !a.stop() {
		t.Error("not clean, though the attempts ended before their final dot")
	}
	w.start("b", 0, deliver)
	for _, o := range w.finals(2) {
		if o.GetResults()[0].GetPossibleDuplicate() {
			t.Errorf("%s is marked", o.GetId())
		}
	}
}

// The very first owner stores a checkpoint before it hands anything out, or nothing would tell its successor that
// someone was there.
func TestQ08_TheFirstOwnerEverIsMarkedAfterToo(t *testing.T) {
	w := newWorld(t, 1)
	w.submit(0, mail("m1", "ok@example.test"))
	release := make(chan struct{})
	started := newSeen()
	a := w.start("a", 0, func(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
		started.note(r)
		<-release
		return nil
	})
	w.eventually("the attempt", func() bool { return started.total() == 1 })
	c, err := bus.LastCheckpoint(w.ctx, w.js, 0)
	w.must(err)
	if c == nil || c.GetClean() || c.GetOwner() != "a" || c.GetWindow() < 1 {
		t.Errorf("checkpoint while the first attempt runs: %v", c)
	}
	close(release)
	a.kill()
}

func TestQ08_OnlyTheWindowIsMarked(t *testing.T) {
	w := newWorld(t, 1)
	for i := range 10 {
		w.submit(0, mail(fmt.Sprintf("a%d", i), "ok@example.test"), mail(fmt.Sprintf("b%d", i), "ok@example.test"))
	}
	attempts := newSeen()
	a := w.start("a", 0, attempts.hanging, window(8))
	w.eventually("a full window", func() bool { return attempts.total() >= 4 })
	a.kill()
	w.start("b", 0, deliver, window(8))
	marked := 0
	for _, o := range w.finals(20) {
		if o.GetResults()[0].GetPossibleDuplicate() {
			marked++
		}
	}
	if marked < attempts.total() || marked > 8 {
		t.Errorf("%d of 20 are marked, %d were attempted, the window is 8", marked, attempts.total())
	}
}

// Takeover while the old owner is in DATA: it finishes, its append is refused, the new owner's delivery is marked.
func TestQ07_FormerOwnerCannotSettle(t *testing.T) {
	w := newWorld(t, 1)
	w.submit(0, mail("m1", "ok@example.test"))
	inData, finish := make(chan struct{}), make(chan struct{})
	lease := &fakeLease{confirmed: true}
	old := w.start("old", 0, func(_ context.Context, r *tenure.Record) *eventv1.Outcome {
		close(inData)
		<-finish
		return answer(r)
	}, func(o *tenure.Options) { o.Lease = lease })
	<-inData
	w.must(old.lease.Release(w.ctx)) // its lease ran out, and it has not noticed
	lease.lose()

	w.start("new", 0, deliver)
	w.finals(1)
	close(finish)
	select {
	case <-old.tenure.Failed():
	case <-time.After(patience):
		t.Fatal("the former owner goes on")
	}
	if err := old.tenure.Err(); err == nil || !strings.Contains(err.Error(), "taken over") {
		t.Errorf("it failed with %v", err)
	}
	if all := w.outcomes(); len(all) != 1 || !all[0].GetResults()[0].GetPossibleDuplicate() {
		t.Errorf("%v", all)
	}
}

func TestQ11_ServerAwayWhileAttemptsRun(t *testing.T) {
	w := newWorld(t, 1)
	var mails []*eventv1.QueuedMail
	for i := range 20 {
		mails = append(mails, mail(fmt.Sprintf("m%d", i), "ok@example.test", "defer-x@example.test"))
	}
	w.submit(0, mails...)
	attempts := newSeen()
	finish := make(chan struct{})
	w.start("a", 0, func(ctx context.Context, r *tenure.Record) *eventv1.Outcome {
		attempts.note(r)
		if r.Mail.GetAttempt() == 0 {
			<-finish
		}
		return answer(r)
	})
	w.eventually("all run", func() bool { return attempts.total() == 20 })
	w.srv.Stop()
	close(finish)
	w.srv.StartAgain()
	all := w.finals(40)
	if attempts.total() != 40 || len(all) != 40 {
		t.Errorf("%d attempts, %d outcomes; want 40 of each", attempts.total(), len(all))
	}
}

func TestQ09_ServerCrashLosesAndDoublesNothing(t *testing.T) {
	w := newWorld(t, 1)
	attempts := newSeen()
	w.start("a", 0, attempts.counting)
	for round := range 3 {
		for i := range 20 {
			w.submit(0, mail(fmt.Sprintf("r%d-%d", round, i), "ok@example.test", "defer-x@example.test"))
		}
		w.srv.Crash()
	}
	w.finals(120)
	for round := range 3 {
		for i := range 20 {
			if n, _ := attempts.of(fmt.Sprintf("r%d-%d", round, i)); n != 2 {
				t.Errorf("r%d-%d was attempted %d times, want 2", round, i, n)
			}
		}
	}
}

// fakeLease is a lease whose state a test sets.
type fakeLease struct {
	mu        sync.Mutex
	confirmed bool
	gone      bool
	lost      chan struct{}
	once      sync.Once
}

// lose lets the next renewal find out that the lease is another's.
func (l *fakeLease) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
}

func (l *fakeLease) set(confirmed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.confirmed = confirmed
}

func (l *fakeLease) Confirmed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.confirmed
}

func (l *fakeLease) Renew(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.gone {
		return nil
	}
	if l.confirmed {
		l.confirmed = false
		close(l.channel())
	}
	return bus.ErrLeaseLost
}

func (l *fakeLease) Lost() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.channel()
}

func (l *fakeLease) channel() chan struct{} {
	l.once.Do(func() { l.lost = make(chan struct{}) })
	return l.lost
}

func (l *fakeLease) Revision() uint64 { return 1 }
