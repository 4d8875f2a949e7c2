// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/testkit/await"
)

func takeOver(tb testing.TB, js jetstream.JetStream, owner string) *Taken {
	tb.Helper()
	taken, err := TakeOver(testContext(tb), js, 0, TakeOverOptions{Owner: owner})
	if err != nil {
		tb.Fatal(err)
	}
	return taken
}

func TestTakeOverFencesEverySubjectOfThePartition(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	var confirmed atomic.Int32
	taken, err := TakeOver(testContext(t), js, 0, TakeOverOptions{
		Owner: "first", Confirm: func(context.Context) error {
			if confirmed.Add(1) == 1 {
				return errors.New("the server cannot be asked") // there is another try
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	subjects := FencedSubjects(0, []int{0, 5})
	if len(taken.Fences) != len(subjects) || taken.Checkpoint != nil || int(confirmed.Load()) != len(subjects)+1 {
		t.Errorf("got %+v, confirmed %d times", taken, confirmed.Load())
	}
	for _, subject := range subjects {
		f := taken.Fences[subject]
		if f == nil || f.Subject() != subject || f.Last() == 0 {
			t.Fatalf("fence of %s: %+v", subject, f)
		}
		stream, _ := StreamOf(subject)
		d, err := ReadSegment(testContext(t), js, stream, f.Last())
		if err != nil || d.Err != nil || d.Takeover() != "first" || d.Segment.Len() != 0 {
			t.Errorf("takeover segment: %+v, %v", d, err)
		}
	}
}

func TestTakeOverNeedsTheLease(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	lost := fmt.Errorf("renew: %w", ErrLeaseLost)
	_, err := TakeOver(testContext(t), js, 0, TakeOverOptions{
		Owner: "late", Confirm: func(context.Context) error { return lost },
	})
	if !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
	if n := messages(t, js, StreamOutcome) + messages(t, js, RetryStream(0)); n != 0 {
		t.Errorf("%d segments were appended without a lease", n)
	}
}

// A process that was stopped between confirming its lease and appending must not get behind its successor.
func TestTakeOverStoppedBeforeItsAppendIsRefused(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	subject := RetrySubject(0, 0)
	lost := fmt.Errorf("renew: %w", ErrLeaseLost)
	calls := 0
	_, err := FenceOff(testContext(t), js, subject, FenceOptions{Owner: "stopped", Confirm: func(context.Context) error {
		if calls++; calls > 1 {
			return lost
		}
		// The lease is good, and now the process stands still while another takes over.
		_, err := FenceOff(testContext(t), js, subject, FenceOptions{Owner: "successor"})
		return err
	}})
	if !errors.Is(err, lost) || calls != 2 {
		t.Errorf("got %v after %d calls", err, calls)
	}
	last, err := lastMessage(testContext(t), js, RetryStream(0), subject)
	if err != nil || last.Header.Get(HeaderTakeover) != "successor" || last.Sequence != 1 {
		t.Errorf("last segment is %+v, %v", last, err)
	}
}

func TestFormerOwnerIsRefused(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	subject := OutcomeSubject(Quiet, 0)
	first := takeOver(t, js, "first")
	renewals := 0
	old := newAppender(t, js, AppenderOptions{
		Fence: first.Fences[subject],
		OnRefused: func(context.Context, error) error {
			renewals++
			return ErrLeaseLost
		},
	})
	if _, err := old.Append(testContext(t), []Frame{mailFrame(t, "before")}); err != nil {
		t.Fatal(err)
	}
	second := takeOver(t, js, "second")
	late := make(chan error, 2)
	for range 2 {
		if err := old.Enqueue([]Frame{mailFrame(t, "late")}, func(_ Position, err error) { late <- err }); err != nil {
			t.Fatal(err)
		}
	}
	var fenced *FencedError
	for range 2 {
		if err := <-late; !errors.As(err, &fenced) || fenced.Subject != subject {
			t.Errorf("got %v, want a FencedError", err)
		}
	}
	if err := old.Enqueue([]Frame{mailFrame(t, "later still")}, nil); !errors.As(err, &fenced) || renewals != 1 {
		t.Errorf("got %v after %d renewals", err, renewals)
	}
	current := newAppender(t, js, AppenderOptions{Fence: second.Fences[subject]})
	p, err := current.Append(testContext(t), []Frame{mailFrame(t, "new owner")})
	if err != nil || recordAt(t, js, p) != "new owner" {
		t.Errorf("the new owner: %+v, %v", p, err)
	}
}

func TestRefusedOwnerWithALeaseGoesOn(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	subject := RetrySubject(0, 0)
	taken := takeOver(t, js, "owner")
	refusals := 0
	a := newAppender(t, js, AppenderOptions{
		Fence: taken.Fences[subject], RetryFor: Forever,
		OnRefused: func(_ context.Context, err error) error {
			if refusals++; refusals == 1 {
				return errors.New("the server cannot be asked") // then nothing is known, and it is asked again
			}
			if !strings.Contains(err.Error(), "10071") {
				t.Errorf("refusal %v", err)
			}
			return nil
		},
	})
	appendOne := func(id string) {
		t.Helper()
		if p, err := a.Append(testContext(t), []Frame{mailFrame(t, id)}); err != nil || recordAt(t, js, p) != id {
			t.Fatalf("%s: %+v, %v", id, p, err)
		}
	}
	appendOne("first")
	s, err := js.Stream(testContext(t), RetryStream(0))
	if err != nil {
		t.Fatal(err)
	}
	// A subject emptied by a purge has last sequence 0 (queue.md 4).
	if err := s.Purge(testContext(t)); err != nil {
		t.Fatal(err)
	}
	appendOne("after the purge")
	// A late takeover of somebody who lost the lease long ago changes nothing.
	if _, err := FenceOff(testContext(t), js, subject, FenceOptions{Owner: "ghost"}); err != nil {
		t.Fatal(err)
	}
	appendOne("after the ghost")
	if refusals != 3 {
		t.Errorf("refused %d times, want 3", refusals)
	}
}

// While the former owner appends as fast as it can the new one still gets its segment in, and exactly one of them
// goes on.
func TestTakeOverWhileTheFormerOwnerIsAtWork(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	subject := OutcomeSubject(Quiet, 0)
	fence, err := FenceOff(testContext(t), js, subject, FenceOptions{Owner: "first"})
	if err != nil {
		t.Fatal(err)
	}
	old := newAppender(t, client(t, s), AppenderOptions{Fence: fence, Linger: 2 * time.Millisecond})
	stopped := make(chan uint64)
	go func() {
		var last uint64
		for {
			p, err := old.Append(context.Background(), []Frame{mailFrame(t, "old")})
			if err != nil {
				var fenced *FencedError
				if !errors.As(err, &fenced) {
					t.Errorf("got %v, want a FencedError", err)
				}
				stopped <- last
				return
			}
			last = p.Sequence
		}
	}()
	await.Until(t, "the former owner works", func() bool { return fence.Last() > 10 })
	successor, err := FenceOff(testContext(t), js, subject, FenceOptions{Owner: "second"})
	if err != nil {
		t.Fatal(err)
	}
	if last := <-stopped; last >= successor.Last() {
		t.Errorf("segment %d of the former owner lies behind the takeover at %d", last, successor.Last())
	}
}

// Lost answers: the first publish of the appender is stored and its answer lost; the repetition must find it.
func TestLostAnswerIsNotStoredTwice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		fenced bool
		look   bool // as after 90 s: look before repeating
	}{{"plain", false, false}, {"fenced", true, false}, {"fenced, later than 90 s", true, true}, {"plain, later than 90 s", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, js := startBus(t)
			o := AppenderOptions{
				Subjects: []string{RetrySubject(0, 0)}, RetryFor: Forever, PublishTimeout: 100 * time.Millisecond,
				OnRefused: func(context.Context, error) error {
					t.Error("a repetition was taken for somebody else's segment")
					return ErrLeaseLost
				},
			}
			if c.fenced {
				o.Fence = takeOver(t, js, "owner").Fences[RetrySubject(0, 0)]
			}
			a := newAppender(t, client(t, s), o)
			if _, err := a.Append(testContext(t), []Frame{mailFrame(t, "before")}); err != nil {
				t.Fatal(err)
			}
			if c.look {
				a.lookAfter = 0
			}
			before := messages(t, js, RetryStream(0))
			answer := make(chan Position, 1)
			loseAnswers(s, func() {
				err := a.Enqueue([]Frame{mailFrame(t, "lost")}, func(p Position, err error) {
					if err != nil {
						t.Error(err)
					}
					answer <- p
				})
				if err != nil {
					t.Fatal(err)
				}
				await.Until(t, "a publish without an answer", func() bool {
					after, ok := a.Unconfirmed()
					return ok && after == before
				})
			})
			p := <-answer
			if p.Sequence != before+1 || recordAt(t, js, p) != "lost" {
				t.Errorf("found at %+v", p)
			}
			if _, ok := a.Unconfirmed(); ok {
				t.Error("still unconfirmed")
			}
			p, err := a.Append(testContext(t), []Frame{mailFrame(t, "after")})
			if err != nil || p.Sequence != before+2 {
				t.Errorf("the next at %+v, %v", p, err)
			}
			if n := messages(t, js, RetryStream(0)); n != before+2 {
				t.Errorf("%d segments, want %d", n, before+2)
			}
		})
	}
}

// The answer is lost, and before it can be repeated another owner takes over: what was stored is known as stored, and
// nothing more is.
func TestLostAnswerThenFenced(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	subject := OutcomeSubject(Notice, 0)
	taken := takeOver(t, js, "first")
	other := client(t, s)
	a := newAppender(t, client(t, s), AppenderOptions{
		Fence: taken.Fences[subject], RetryFor: Forever, PublishTimeout: 50 * time.Millisecond,
		OnRefused: func(context.Context, error) error { return ErrLeaseLost },
	})
	type answer struct {
		p   Position
		err error
	}
	answers := make(chan answer, 1)
	s.HoldReplies()
	if err := a.Enqueue([]Frame{mailFrame(t, "stored")}, func(p Position, err error) { answers <- answer{p, err} }); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "a publish without an answer", func() bool { _, ok := a.Unconfirmed(); return ok })
	// The successor's answers are held as well; it gets them all when they are let out.
	fenced := make(chan *Fence, 1)
	go func() {
		f, err := FenceOff(testContext(t), other, subject, FenceOptions{Owner: "second"})
		if err != nil {
			t.Error(err)
		}
		fenced <- f
	}()
	s.ReleaseReplies()
	got := <-answers
	if got.err != nil || recordAt(t, js, got.p) != "stored" {
		t.Errorf("what was stored: %+v", got)
	}
	if f := <-fenced; f == nil || f.Last() <= got.p.Sequence {
		t.Errorf("the successor stands at %+v", f)
	}
	var refused *FencedError
	if _, err := a.Append(testContext(t), []Frame{mailFrame(t, "too late")}); !errors.As(err, &refused) {
		t.Errorf("got %v, want a FencedError", err)
	}
}

func TestLostAnswerOfATakeover(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	subject := RetrySubject(5, 0)
	done := make(chan *Fence, 1)
	loseAnswers(s, func() {
		stored := func() bool {
			info, err := s.NATS().Jsz(nil)
			return err == nil && info.Messages == 1
		}
		reached := make(chan struct{})
		go func() {
			f, err := FenceOff(testContext(t), js, subject, FenceOptions{Owner: "owner", Confirm: func(context.Context) error {
				select {
				case <-reached:
				default:
					s.HoldReplies()
					close(reached)
				}
				return nil
			}})
			if err != nil {
				t.Error(err)
			}
			done <- f
		}()
		s.ReleaseReplies() // for the read before it
		<-reached
		await.Until(t, "the takeover segment is stored", stored)
	})
	f := <-done
	if n := messages(t, js, RetryStream(5)); n != 1 || f.Last() != 1 {
		t.Errorf("%d takeover segments, fence at %d; want one", n, f.Last())
	}
}

func TestCheckpointIsCarriedOnWithoutClean(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	if c, err := LastCheckpoint(testContext(t), js, 0); err != nil || c != nil {
		t.Fatalf("before the first: %v, %v", c, err)
	}
	first := takeOver(t, js, "first")
	want := &eventv1.Checkpoint{
		Floors: []*eventv1.Floor{{Stream: StreamMail, Sequence: 7}}, FoldFrom: timestamppb.Now(), Window: 1000, Clean: true,
		Owner: "first", LeaseRevision: 3,
	}
	for i, kind := range []OutcomeKind{Quiet, Notice} {
		c := proto.CloneOf(want)
		c.Window += uint32(i)
		a := newAppender(t, js, AppenderOptions{
			Fence:  first.Fences[OutcomeSubject(kind, 0)],
			Header: func(h nats.Header) { _ = SetCheckpoint(h, c) },
		})
		if _, err := a.Append(testContext(t), nil); err != nil { // an idle owner's empty segment
			t.Fatal(err)
		}
	}
	want.Window++ // notice came last
	if c, err := LastCheckpoint(testContext(t), js, 0); err != nil || !proto.Equal(c, want) {
		t.Errorf("last checkpoint %v, %v; want %v", c, err, want)
	}
	for _, owner := range []string{"second", "third"} {
		taken, err := TakeOver(testContext(t), js, 0, TakeOverOptions{Owner: owner, LeaseRevision: 9})
		if err != nil || !proto.Equal(taken.Checkpoint, want) {
			t.Errorf("%s found %v, %v; want %v", owner, taken.Checkpoint, err, want)
		}
		// Who dies before its first own checkpoint was not clean.
		want.Clean, want.Owner, want.LeaseRevision = false, owner, 9
	}
}

func TestDamagedCheckpointIsAnError(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	for i, text := range []string{"not base64!", "/////w=="} {
		h := segmentHeader(0)
		h.Set(HeaderCheckpoint, text)
		if _, err := js.PublishMsg(testContext(t), &nats.Msg{Subject: OutcomeSubject(Quiet, i), Header: h}); err != nil {
			t.Fatal(err)
		}
		if _, err := LastCheckpoint(testContext(t), js, i); err == nil {
			t.Errorf("%q was taken for a checkpoint", text)
		}
		if _, err := TakeOver(testContext(t), js, i, TakeOverOptions{Owner: "o"}); err == nil {
			t.Errorf("%q: taken over all the same", text)
		}
	}
}

func TestFencesOfTwoPartitionsAreApart(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	var appenders []*Appender
	for p := range 2 {
		f, err := FenceOff(testContext(t), js, RetrySubject(0, p), FenceOptions{Owner: fmt.Sprint(p)})
		if err != nil {
			t.Fatal(err)
		}
		appenders = append(appenders, newAppender(t, js, AppenderOptions{Fence: f}))
	}
	for i := range 10 {
		if _, err := appenders[i%2].Append(testContext(t), []Frame{mailFrame(t, "m")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := FenceOff(testContext(t), js, "elsewhere.0", FenceOptions{}); err == nil {
		t.Error("a subject of nobody was fenced")
	}
}
