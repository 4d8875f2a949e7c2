// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.LeakOptions()...) }

// queue is a real queue for a view to fold.
type queue struct {
	t      testing.TB
	server *bustest.Server
	js     jetstream.JetStream
	append map[string]*bus.Appender
}

func newQueue(t testing.TB) *queue {
	t.Helper()
	server := bustest.StartWith(t, bustest.Options{Configure: func(o *server.Options) { o.MaxPayload = bus.MaxPayload }})
	q := &queue{t: t, server: server, js: server.JetStream(), append: map[string]*bus.Appender{}}
	if err := bus.Ensure(t.Context(), q.js, bus.Layout{Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, a := range q.append {
			_ = a.Close(context.Background())
		}
	})
	return q
}

func (q *queue) appender(subject string) *bus.Appender {
	if q.append[subject] == nil {
		q.append[subject] = bus.NewAppender(q.js, bus.AppenderOptions{Subjects: []string{subject}})
	}
	return q.append[subject]
}

// put appends frames to a subject as one segment.
func (q *queue) put(subject string, frames ...bus.Frame) {
	q.t.Helper()
	if _, err := q.appender(subject).Append(q.t.Context(), frames); err != nil {
		q.t.Fatal(err)
	}
}

func (q *queue) mail(records ...*eventv1.QueuedMail) {
	q.t.Helper()
	q.put(bus.MailSubject(0), mailFrames(q.t, records...)...)
}

func (q *queue) outcomes(list ...*eventv1.Outcome) {
	q.t.Helper()
	frames := make([]bus.Frame, len(list))
	for i, o := range list {
		f, err := bus.FrameOutcome(o, []byte("Subject: x\r\n\r\n"))
		if err != nil {
			q.t.Fatal(err)
		}
		frames[i] = f
	}
	q.put(bus.OutcomeSubject(bus.Quiet, 0), frames...)
}

func mailFrames(t testing.TB, records ...*eventv1.QueuedMail) []bus.Frame {
	t.Helper()
	frames := make([]bus.Frame, len(records))
	for i, r := range records {
		f, err := bus.FrameMail(r, []byte("From: a@example.org\r\n\r\nbody\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		frames[i] = f
	}
	return frames
}

// view is an open view that folds until it is stopped.
type running struct {
	*View
	stop func()
}

func (q *queue) options(path string) Options {
	return Options{Path: path, JS: q.js, Log: slog.New(slog.DiscardHandler), Now: time.Now}
}

func (q *queue) open(o Options) *running {
	q.t.Helper()
	v, err := Open(q.t.Context(), o)
	if err != nil {
		q.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	stopped := false
	r := &running{View: v}
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			q.t.Errorf("Run: %v", err)
		}
		v.Close()
	}
	q.t.Cleanup(r.stop)
	return r
}

// await waits until the view has folded all streams as they are now.
func (r *running) await(t testing.TB) {
	t.Helper()
	_, last, err := r.ends(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for {
		changed := r.change()
		if r.hasAll(last) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatal("the view does not catch up")
		}
	}
}

// hasAll reports whether all streams are folded up to some sequences.
func (r *running) hasAll(last map[string]uint64) bool {
	for stream, sequence := range last {
		if !r.lag.has(stream, sequence) {
			return false
		}
	}
	return true
}

// current waits until the view knows that it has caught up.
func (r *running) current(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); r.Current() != nil; {
		if time.Now().After(deadline) {
			t.Fatal(r.Current())
		}
		changed := r.change()
		select {
		case <-changed:
		case <-time.After(10 * time.Millisecond): // an observation alone wakes nobody
		}
	}
}

func (r *running) message(t testing.TB, id string) *gatewayv1.Message {
	t.Helper()
	m, _, err := r.Message(t.Context(), id)
	if err != nil {
		t.Fatalf("message %s: %v", id, err)
	}
	m.ViewLag = nil
	return m
}

// withID makes a record or outcome one of another message.
func withID(id string, at time.Time) func(*eventv1.QueuedMail) {
	return func(r *eventv1.QueuedMail) { r.MessageId, r.AcceptedAt = id, timestamppb.New(at) }
}

func outcomeOf(id string, at time.Time, o *eventv1.Outcome) *eventv1.Outcome {
	o.MessageId, o.AcceptedAt, o.DecidedAt = id, timestamppb.New(at), timestamppb.New(at.Add(time.Minute))
	return o
}

func newID() string { return ulid.Make().String() }

func TestMessageIsFoundAsSoonAsItIsDurable(t *testing.T) {
	q := newQueue(t)
	v := q.open(q.options(filepath.Join(t.TempDir(), "deep", "view.db")))
	for range 20 {
		id := newID()
		q.mail(record(withID(id, time.Now()), 0, 1))
		m, caller, err := v.Message(t.Context(), id)
		if err != nil || m.GetState() != gatewayv1.MessageState_MESSAGE_STATE_ACCEPTED || len(m.GetRecipients()) != 2 || caller != "shop" {
			t.Fatalf("right after the append: %v, %q, %v", m, caller, err)
		}
		if m.GetTraceId() != "0123456789abcdef0123456789abcdef" || m.GetSize() != 99 || m.GetSender() != "a@example.org" ||
			m.GetMessageIdHeader() != "<1@example.org>" || m.GetTag() != "g" || m.GetPriority() != eventv1.Priority_PRIORITY_URGENT {
			t.Fatalf("facts: %v", m)
		}
	}
}

func TestUnknownAndMalformedIDs(t *testing.T) {
	q := newQueue(t)
	v := q.open(q.options(filepath.Join(t.TempDir(), "view.db")))
	v.current(t)
	for id, code := range map[string]codes.Code{
		"": codes.InvalidArgument, "x": codes.InvalidArgument, "01HX000000000000000000000U": codes.InvalidArgument,
		newID(): codes.NotFound, "01HX0000000000000000000000": codes.NotFound,
	} {
		_, _, err := v.Message(t.Context(), id)
		if e, ok := errors.AsType[*rpc.Error](err); !ok || e.Code != code {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestFoldsOnAndFoldsAnew checks that a view goes on where it stopped, and that one that is made anew says the same.
func TestFoldsOnAndFoldsAnew(t *testing.T) {
	q := newQueue(t)
	path := filepath.Join(t.TempDir(), "view.db")
	v := q.open(q.options(path))
	id, at := newID(), time.Now()
	first := outcomeOf(id, at, outcome(1, settledAs(0, delivered), settledAs(1, deferred)))
	q.mail(record(withID(id, at), 0, 1))
	q.outcomes(first)
	v.await(t)
	if m := v.message(t, id); m.GetState() != gatewayv1.MessageState_MESSAGE_STATE_ACTIVE || m.GetRecipients()[1].GetNextAttemptAt() == nil {
		t.Errorf("half way: %v", m)
	}
	v.stop()

	waiting := retry(1, []*eventv1.Outcome{first}, 1)
	withID(id, at)(waiting)
	q.put(bus.RetrySubject(5, 0), mailFrames(t, waiting)...)
	q.outcomes(outcomeOf(id, at, outcome(2, settledAs(1, bounced))))
	v = q.open(q.options(path))
	v.await(t)
	on := v.message(t, id)
	if on.GetState() != gatewayv1.MessageState_MESSAGE_STATE_DONE || len(on.GetRecipients()[1].GetAttempts()) != 2 {
		t.Errorf("folded on: %v", on)
	}
	v.stop()

	anew := q.options(path)
	anew.Rebuild = true
	for name, o := range map[string]Options{"rebuilt": anew, "another file": q.options(path + "2")} {
		v := q.open(o)
		v.await(t)
		if m := v.message(t, id); !proto.Equal(m, on) {
			t.Errorf("%s: %v, want %v", name, m, on)
		}
		v.stop()
	}
}

func TestOutcomeAloneIsEnough(t *testing.T) {
	q := newQueue(t)
	id, at := newID(), time.Now()
	o := outcomeOf(id, at, outcome(1, settledAs(0, delivered), settledAs(1, bounced)))
	o.IdempotencyHash, o.SubmitDigest = []byte("hash"), []byte("digest")
	q.outcomes(o)
	v := q.open(q.options(filepath.Join(t.TempDir(), "view.db")))
	v.await(t)
	v.current(t)
	m, caller, err := v.Message(t.Context(), id)
	if err != nil || caller != "" || m.GetState() != gatewayv1.MessageState_MESSAGE_STATE_DONE || len(m.GetRecipients()) != 2 {
		t.Errorf("%v, %q, %v", m, caller, err)
	}
	e, found, err := v.FindKey(t.Context(), []byte("hash"), at.Add(-time.Hour))
	if err != nil || !found || e.Recipients != 2 || string(e.Digest) != "digest" || e.MessageID != id {
		t.Errorf("key: %+v, %v, %v", e, found, err)
	}
}

func TestG12_FindKeyLooksBackOneDay(t *testing.T) {
	q := newQueue(t)
	path := filepath.Join(t.TempDir(), "view.db")
	v, err := Open(t.Context(), q.options(path))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.FindKey(t.Context(), []byte("h"), time.Time{}); err == nil {
		t.Error("a view that has not caught up answers for keys")
	}
	v.Close()
	now := time.Now()
	young, old := newID(), newID()
	keyed := func(id string, at time.Time, hash string) *eventv1.QueuedMail {
		return record(func(r *eventv1.QueuedMail) {
			withID(id, at)(r)
			r.IdempotencyHash, r.SubmitDigest, r.Parts = []byte(hash), []byte("d"), 2
		}, 0, 1, 2)
	}
	second := keyed(young, now, "young")
	second.Part = 2
	for i, r := range second.GetEnvelope().GetRecipients() {
		r.Index = uint32(3 + i)
	}
	q.mail(keyed(young, now, "young"), second, keyed(old, now.Add(-25*time.Hour), "old"))
	r := q.open(q.options(path))
	r.await(t)
	r.current(t)
	e, found, err := r.FindKey(t.Context(), []byte("young"), now.Add(-24*time.Hour))
	if err != nil || !found || e.MessageID != young || e.Recipients != 6 || !e.AcceptedAt.Equal(now.UTC().Round(0)) {
		t.Errorf("young: %+v, %v, %v", e, found, err)
	}
	if _, found, err := r.FindKey(t.Context(), []byte("old"), now.Add(-24*time.Hour)); err != nil || found {
		t.Errorf("old: %v, %v", found, err)
	}
	if _, found, err := r.FindKey(t.Context(), []byte("none"), now.Add(-24*time.Hour)); err != nil || found {
		t.Errorf("none: %v, %v", found, err)
	}
}

func TestYoungerThanTheViewIsAccepted(t *testing.T) {
	q := newQueue(t)
	v := q.open(q.options(filepath.Join(t.TempDir(), "view.db")))
	known := newID()
	q.mail(record(withID(known, time.Now()), 0))
	v.await(t)
	v.current(t)
	q.server.Stop()
	if m := v.message(t, known); len(m.GetRecipients()) != 1 {
		t.Errorf("what is in the file: %v", m)
	}
	if m := v.message(t, newID()); m.GetState() != gatewayv1.MessageState_MESSAGE_STATE_ACCEPTED || len(m.GetRecipients()) != 0 {
		t.Errorf("an id made now: %v", m)
	}
	var past ulid.ULID
	_ = past.SetTime(ulid.Timestamp(time.Now().Add(-time.Hour)))
	if _, _, err := v.Message(t.Context(), past.String()); rpc.FromError(err).Code != codes.NotFound {
		t.Errorf("an id made an hour ago: %v", err)
	}
	q.server.StartAgain()
	late := newID()
	q.mail(record(withID(late, time.Now()), 0))
	v.await(t)
	if m := v.message(t, late); len(m.GetRecipients()) != 1 {
		t.Errorf("after the server came back: %v", m)
	}
}

func TestOtherStreamsOrDamageFoldAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "view.db")
	first := newQueue(t)
	gone := newID()
	first.mail(record(withID(gone, time.Now().Add(-time.Hour)), 0))
	v := first.open(first.options(path))
	v.await(t)
	v.stop()

	second := newQueue(t)
	id := newID()
	second.mail(record(withID(id, time.Now()), 0))
	v = second.open(second.options(path))
	v.await(t)
	v.current(t)
	v.message(t, id)
	if _, found, err := v.load(t.Context(), gone); err != nil || found != nil {
		t.Errorf("a message of other streams is still there: %v, %v", found, err)
	}
	v.stop()

	for name, content := range map[string][]byte{"no database": []byte("not a database, but long enough to be looked at by anyone"), "cut": nil} {
		if content == nil {
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			content = whole[:1000]
		}
		_ = removeDatabase(path)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		v = second.open(second.options(path))
		v.await(t)
		if m := v.message(t, id); len(m.GetRecipients()) != 1 {
			t.Errorf("%s: %v", name, m)
		}
		v.stop()
	}
}

func TestOtherSchemaVersionFoldsAnew(t *testing.T) {
	q := newQueue(t)
	path := filepath.Join(t.TempDir(), "view.db")
	id := newID()
	q.mail(record(withID(id, time.Now()), 0))
	v := q.open(q.options(path))
	v.await(t)
	if _, err := v.db.write.ExecContext(t.Context(), "PRAGMA user_version = 99; DROP TABLE part"); err != nil {
		t.Fatal(err)
	}
	v.stop()
	v = q.open(q.options(path))
	v.await(t)
	v.message(t, id)
}

func TestPruneRemovesWhatEndedLongAgo(t *testing.T) {
	q := newQueue(t)
	now := time.Now()
	at := func(age time.Duration) (string, time.Time) {
		var id ulid.ULID
		_ = id.SetTime(ulid.Timestamp(now.Add(-age)))
		_ = id.SetEntropy([]byte(fmt.Sprintf("%010d", age/time.Hour)))
		return id.String(), now.Add(-age)
	}
	day := 24 * time.Hour
	old, oldAt := at(8 * day)
	young, youngAt := at(6 * day)
	open, openAt := at(9 * day)
	q.mail(record(withID(old, oldAt), 0), record(withID(young, youngAt), 0), record(withID(open, openAt), 0))
	q.outcomes(outcomeOf(old, oldAt, outcome(1, settledAs(0, delivered))), outcomeOf(young, youngAt, outcome(1, settledAs(0, delivered))),
		outcomeOf(open, openAt, outcome(1, settledAs(0, deferred))))
	v := q.open(q.options(filepath.Join(t.TempDir(), "view.db")))
	v.await(t)
	if n, err := v.db.prune(t.Context(), now.Add(-retention)); err != nil || n != 1 {
		t.Errorf("pruned %d, %v", n, err)
	}
	for id, there := range map[string]bool{old: false, young: true, open: true} {
		m, _, err := v.load(t.Context(), id)
		if err != nil || (m != nil) != there {
			t.Errorf("%s: %v, %v", id, m, err)
		}
		if parts, err := loadParts(t.Context(), v.db.read, id); err != nil || len(parts) > 0 != there {
			t.Errorf("parts of %s: %d, %v", id, len(parts), err)
		}
	}
}

func TestCorruptRecordsAreStepsOver(t *testing.T) {
	q := newQueue(t)
	id := newID()
	frames := append([]bus.Frame{{Meta: []byte{0xff}}}, mailFrames(t, record(withID(id, time.Now()), 0))...)
	q.put(bus.MailSubject(0), frames...)
	if _, err := q.js.Publish(t.Context(), bus.MailSubject(0), []byte("no segment")); err != nil {
		t.Fatal(err)
	}
	v := q.open(q.options(filepath.Join(t.TempDir(), "view.db")))
	v.await(t)
	v.message(t, id)
}

func BenchmarkFold(b *testing.B) {
	q := newQueue(b)
	o := q.options(filepath.Join(b.TempDir(), "view.db"))
	v, err := Open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	const size = 256
	b.ReportAllocs()
	sequence := uint64(0)
	for b.Loop() {
		b.StopTimer()
		sequence++
		mails, outs := make([]bus.Frame, size), make([]bus.Frame, size)
		for i := range size {
			id := newID()
			mails[i] = mailFrames(b, record(withID(id, start), 0))[0]
			outs[i], _ = bus.FrameOutcome(outcomeOf(id, start, outcome(1, settledAs(0, delivered))))
		}
		b.StartTimer()
		batch, err := newBatch(b.Context(), v.db)
		if err != nil {
			b.Fatal(err)
		}
		for stream, frames := range map[string][]bus.Frame{bus.StreamMail: mails, bus.StreamOutcome: outs} {
			h, data := bus.EncodeSegment(frames)
			segment, err := bus.DecodeSegment(h, data)
			if err != nil {
				b.Fatal(err)
			}
			if err := batch.fold(b.Context(), bus.Delivery{Stream: stream, Sequence: sequence, Segment: segment}); err != nil {
				b.Fatal(err)
			}
		}
		if err := batch.commit(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "µs/mail")
}

func TestFinishedBodies(t *testing.T) {
	q := newQueue(t)
	v := q.open(q.options(filepath.Join(t.TempDir(), "view.db")))
	at := time.Now().Add(-time.Hour)
	mail := func(part, parts uint32) (string, *eventv1.QueuedMail) {
		id := newID()
		return id, record(func(r *eventv1.QueuedMail) {
			withID(id, at)(r)
			r.Part, r.Parts, r.Content.BodyRef = part, parts, "file:"+id
		}, 0, 1)
	}
	settle := func(id string, part uint32, results ...*eventv1.RecipientResult) *eventv1.Outcome {
		o := outcomeOf(id, at, outcome(1, results...))
		o.Part = part
		return o // without Parts and body reference: those of the record count
	}
	done, doneMail := mail(1, 1)
	half, halfMail := mail(1, 2)
	waiting, waitingMail := mail(1, 1)
	second := proto.CloneOf(halfMail)
	second.Part = 2
	q.mail(doneMail, halfMail, second, waitingMail)
	q.outcomes(settle(done, 1, settledAs(0, delivered), settledAs(1, bounced)), settle(half, 1, settledAs(0, delivered), settledAs(1, delivered)),
		settle(waiting, 1, settledAs(0, delivered), settledAs(1, deferred)))
	v.await(t)
	v.current(t)
	refs, err := v.FinishedBodies(t.Context(), time.Now(), 10)
	if err != nil || len(refs) != 1 || refs[done] != "file:"+done {
		t.Errorf("finished: %v, %v", refs, err)
	}
	if refs, err := v.FinishedBodies(t.Context(), at, 10); err != nil || len(refs) != 0 {
		t.Errorf("finished before they were: %v, %v", refs, err)
	}
	if err := v.ForgetBodies(t.Context(), []string{done}); err != nil {
		t.Fatal(err)
	}
	if refs, err := v.FinishedBodies(t.Context(), time.Now(), 10); err != nil || len(refs) != 0 {
		t.Errorf("forgotten: %v, %v", refs, err)
	}
	for id, want := range map[string]bool{done: true, waiting: true, newID(): false} {
		if known, err := v.Knows(t.Context(), id); err != nil || known != want {
			t.Errorf("knows %s: %v, %v", id, known, err)
		}
	}
}

// TestViewCatchesUpWithWhatIsGone: what was purged, or deleted at the end of a stream, before the view came to it will never
// be folded, and must not keep it behind: that would refuse every keyed submission (G-12).
func TestViewCatchesUpWithWhatIsGone(t *testing.T) {
	q := newQueue(t)
	named := func(id string) *eventv1.QueuedMail {
		return record(func(m *eventv1.QueuedMail) { m.MessageId = id }, 0)
	}
	q.mail(named("01HX0000000000000000000001"))
	q.put(bus.RetrySubject(5, 0), mailFrames(t, named("01HX0000000000000000000002"))...)
	q.put(bus.ParkSubject(0, "example.com"), mailFrames(t, named("01HX0000000000000000000003"))...)
	q.put(bus.ParkSubject(0, "example.com"), mailFrames(t, named("01HX0000000000000000000004"))...)
	if err := bus.Purge(t.Context(), q.js, bus.RetryStream(5), 2); err != nil {
		t.Fatal(err)
	}
	park, err := q.js.Stream(t.Context(), bus.StreamPark)
	if err != nil {
		t.Fatal(err)
	}
	if err := park.DeleteMsg(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	v := q.open(q.options(filepath.Join(t.TempDir(), "view.db")))
	for deadline := time.Now().Add(20 * time.Second); v.Current() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(v.Current())
		}
	}
}

// TestLagIgnoresWhatWasRemovedMeanwhile: an observation saw a message that is gone before it was read.
func TestLagIgnoresWhatWasRemovedMeanwhile(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLag(func() time.Time { return now }, map[string]uint64{"MAIL": 7, "PARK": 3})
	l.observe(now, map[string]uint64{"MAIL": 7, "PARK": 4})
	if _, ok := l.behind(); ok {
		t.Error("caught up, though message 4 of PARK is not folded")
	}
	now = now.Add(time.Second)
	l.observe(now, map[string]uint64{"MAIL": 8, "PARK": 3}) // 4 was deleted
	if _, ok := l.behind(); ok {
		t.Error("caught up, though message 8 of MAIL is not folded")
	}
	now = now.Add(time.Second)
	l.reached(map[string]uint64{"MAIL": 8})
	if d, ok := l.behind(); !ok || d != time.Second {
		t.Errorf("behind by %v, %v", d, ok)
	}
}
