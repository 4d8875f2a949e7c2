// SPDX-License-Identifier: Apache-2.0

package tenure_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/dispatch"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/lanes"
	"github.com/postrider/postrider/services/sender/internal/retryschedule"
	"github.com/postrider/postrider/services/sender/internal/settle"
	"github.com/postrider/postrider/services/sender/internal/site"
	"github.com/postrider/postrider/services/sender/internal/tenure"
	"github.com/postrider/postrider/testkit/await"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.LeakOptions()...) }

const (
	delivered = eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
	deferred  = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
	bounced   = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
	expired   = eventv1.RecipientState_RECIPIENT_STATE_EXPIRED
	held      = eventv1.RecipientState_RECIPIENT_STATE_HELD

	patience = 20 * time.Second
)

// world is one server with the queue's streams.
type world struct {
	t   testing.TB
	srv *bustest.Server
	js  jetstream.JetStream
	ctx context.Context
}

func newWorld(t testing.TB, partitions int) *world {
	t.Helper()
	srv := bustest.StartWith(t, bustest.Options{Configure: func(o *server.Options) { o.MaxPayload = bus.MaxPayload }})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	w := &world{t: t, srv: srv, js: srv.JetStream(), ctx: ctx}
	w.must(bus.Ensure(ctx, w.js, bus.Layout{Partitions: partitions}))
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	await.Until(w.t, what, ok)
}

// mail returns a record for recipients of one domain.
func mail(id string, recipients ...string) *eventv1.QueuedMail {
	m := &eventv1.QueuedMail{
		MessageId: id, Part: 1, Parts: 1, Destination: "example.test",
		Envelope:   &eventv1.Envelope{Sender: "sender@example.org"},
		Content:    &eventv1.Content{Size: uint64(len(content)), HeaderSize: 15},
		AcceptedAt: timestamppb.Now(),
	}
	for i, r := range recipients {
		m.Envelope.Recipients = append(m.Envelope.Recipients, &eventv1.Recipient{Address: r, Index: uint32(i)})
	}
	return m
}

const content = "Subject: hi\r\n\r\nhello\r\n"

// submit stores records in one segment of MAIL.
func (w *world) submit(partition int, mails ...*eventv1.QueuedMail) {
	w.t.Helper()
	var frames []bus.Frame
	for _, m := range mails {
		f, err := bus.FrameMail(m, []byte(content))
		w.must(err)
		frames = append(frames, f)
	}
	w.publish(bus.MailSubject(partition), frames)
}

func (w *world) publish(subject string, frames []bus.Frame) uint64 {
	w.t.Helper()
	h, data := bus.EncodeSegment(frames)
	ack, err := w.js.PublishMsg(w.ctx, &nats.Msg{Subject: subject, Header: h, Data: data})
	w.must(err)
	return ack.Sequence
}

// each hands fn every record frame of a stream.
func (w *world) each(stream string, fn func(d bus.Delivery, f bus.Frame)) {
	w.t.Helper()
	r, err := bus.NewReader(w.ctx, w.js, bus.ReaderOptions{Stream: stream})
	w.must(err)
	defer func() { _ = r.Close() }()
	w.must(r.ReadToEnd(w.ctx, func(d bus.Delivery) error {
		for i := range d.Segment.Len() {
			f, err := d.Segment.Frame(i)
			w.must(err)
			fn(d, f)
		}
		return nil
	}))
}

// outcomes returns all stored outcomes in order.
func (w *world) outcomes() []*eventv1.Outcome {
	w.t.Helper()
	var all []*eventv1.Outcome
	w.each(bus.StreamOutcome, func(_ bus.Delivery, f bus.Frame) {
		o, err := f.Outcome()
		w.must(err)
		all = append(all, o)
	})
	return all
}

// copies returns the records of a stream.
func (w *world) copies(stream string) []*eventv1.QueuedMail {
	w.t.Helper()
	var all []*eventv1.QueuedMail
	w.each(stream, func(_ bus.Delivery, f bus.Frame) {
		m, err := f.Mail()
		w.must(err)
		all = append(all, m)
	})
	return all
}

// finals waits until so many recipients are final, and returns the outcomes.
func (w *world) finals(n int) []*eventv1.Outcome {
	w.t.Helper()
	var all []*eventv1.Outcome
	w.eventually(fmt.Sprintf("%d final results", n), func() bool {
		final := 0
		all = w.outcomes()
		for _, o := range all {
			for _, r := range o.GetResults() {
				if r.GetState() != deferred {
					final++
				}
			}
		}
		return final >= n
	})
	return all
}

func (w *world) floor(partition int, stream string) uint64 {
	w.t.Helper()
	c, err := bus.LastCheckpoint(w.ctx, w.js, partition)
	w.must(err)
	for _, f := range c.GetFloors() {
		if f.GetStream() == stream {
			return f.GetSequence()
		}
	}
	return 0
}

// attempt is what a fake engine does with a record.
type attempt func(ctx context.Context, r *tenure.Record) *eventv1.Outcome

// answer makes the outcome that a host would give which judges each recipient by the first word of its address.
func answer(r *tenure.Record) *eventv1.Outcome {
	o := settle.FromRecord(r.Mail, r.Place, time.Now())
	o.ExpiresAt = timestamppb.New(r.Mail.GetAcceptedAt().AsTime().Add(time.Hour))
	o.Attempt = &eventv1.Attempt{Number: r.Mail.GetAttempt() + 1}
	for _, recipient := range r.Mail.GetEnvelope().GetRecipients() {
		result := &eventv1.RecipientResult{
			Recipient: proto.CloneOf(recipient), State: delivered, PossibleDuplicate: r.Mail.GetPossibleDuplicate(),
		}
		word, _, _ := strings.Cut(recipient.GetAddress(), "-")
		switch {
		case word == "bounce":
			result.State = bounced
		case word == "defer" && r.Mail.GetAttempt() == 0, word == "always":
			result.State = deferred
			result.Pause = durationpb.New(50 * time.Millisecond)
			o.Pause = result.Pause
		}
		o.Results = append(o.Results, result)
	}
	return o
}

func deliver(_ context.Context, r *tenure.Record) *eventv1.Outcome { return answer(r) }

// sender is one sender with a connection of its own.
type sender struct {
	w       *world
	name    string
	conn    *nats.Conn
	lease   *bus.Lease
	lanes   *lanes.Lanes[*tenure.Record]
	tenure  *tenure.Tenure
	ended   chan struct{} // the dispatcher has ended
	cancel  context.CancelFunc
	mirror  context.CancelFunc
	changes chan struct{} // the mirror has ended
	once    sync.Once
	logged  *strings.Builder
	logLock *sync.Mutex
}

type change func(*tenure.Options)

func window(n int) change { return func(o *tenure.Options) { o.Limits.Window = n } }

// start lets a sender own a partition.
func (w *world) start(name string, partition int, do attempt, changes ...change) *sender {
	w.t.Helper()
	s := &sender{w: w, name: name, conn: w.srv.Connect(), ended: make(chan struct{}), logged: &strings.Builder{}, logLock: &sync.Mutex{}}
	js, err := jetstream.New(s.conn)
	w.must(err)
	leases, err := bus.OpenLeases(w.ctx, js, 2*time.Second)
	w.must(err)
	w.eventually("lease", func() bool {
		s.lease, err = leases.Acquire(w.ctx, partition, name)
		return err == nil
	})
	s.lanes = lanes.New[*tenure.Record](lanes.Limits{PerSite: func(string) int { return 20 }, Total: 100}, site.New(1000, nil))
	o := tenure.Options{
		JS: js, Partition: partition, Owner: name, Lease: s.lease, Lanes: s.lanes,
		Clock: due.NewClock(func(ctx context.Context) (time.Time, error) {
			last, err := bus.LastSequences(ctx, js, bus.RetryStream(0))
			return last.Time, err
		}, time.Second),
		Limits: tenure.Limits{
			Window: 1000, WindowBytes: func() int64 { return 64 << 20 }, LedgerBytes: 64 << 20,
			CheckpointEvery: 50 * time.Millisecond, WorkFor: 10 * time.Minute, WorkForAtLeast: 5 * time.Second,
		},
		Retry:     retryschedule.Default(),
		Operators: w.operators(js, s),
		Log:       slog.New(slog.NewTextHandler(&lockedWriter{s.logged, s.logLock}, nil)),
	}
	for _, c := range changes {
		c(&o)
	}
	s.tenure, err = tenure.Start(w.ctx, o)
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	s.cancel = cancel
	d := &dispatch.Dispatcher{
		Wait:  func(context.Context) error { return nil },
		Lanes: s.lanes, Attempt: do, Log: o.Log,
		ExpiresAt: func(m *eventv1.QueuedMail) time.Time { return m.GetAcceptedAt().AsTime().Add(time.Hour) },
	}
	go func() { defer close(s.ended); d.Run(ctx) }()
	w.t.Cleanup(func() { s.stop() })
	return s
}

// stop drains the sender in order.
func (s *sender) stop() (clean bool) {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		clean = s.tenure.Stop(ctx, time.Second)
		s.end(ctx)
	})
	return clean
}

// kill lets the sender end as by kill -9: nothing it has not stored is stored any more. Its lease runs out at once.
func (s *sender) kill() {
	s.w.t.Helper()
	s.once.Do(func() {
		s.conn.Close()
		owners, err := s.w.js.KeyValue(s.w.ctx, bus.BucketOwners)
		s.w.must(err)
		s.w.must(owners.Purge(s.w.ctx, fmt.Sprintf("lease.%d", s.tenure.Partition())))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.tenure.Stop(ctx, 0)
		s.end(ctx)
	})
}

func (s *sender) end(ctx context.Context) {
	s.cancel()
	s.mirror()
	<-s.ended
	<-s.changes
	_ = s.lease.Release(ctx)
	s.conn.Close()
}

func (s *sender) log() string {
	s.logLock.Lock()
	defer s.logLock.Unlock()
	return s.logged.String()
}

type lockedWriter struct {
	b  *strings.Builder
	mu *sync.Mutex
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
