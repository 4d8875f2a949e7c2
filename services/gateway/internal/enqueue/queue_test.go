// SPDX-License-Identifier: Apache-2.0

package enqueue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/bodystore"
	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/services/gateway/internal/content"
	"github.com/postrider/postrider/services/gateway/internal/envelope"
	"github.com/postrider/postrider/testkit/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.LeakOptions()...) }

// fixture is a queue on a real server with real files.
type fixture struct {
	*Queue
	server   *bustest.Server
	appender *bus.Appender
	bodies   bodystore.Store
	messages int
}

func newFixture(t *testing.T, maxStore int64, retry time.Duration) *fixture {
	t.Helper()
	f := &fixture{server: bustest.StartWith(t, bustest.Options{Configure: func(o *server.Options) { o.MaxPayload = bus.MaxPayload }})}
	js := f.server.JetStream()
	if err := bus.Ensure(t.Context(), js, bus.Layout{Partitions: 2, MaxStore: maxStore}); err != nil {
		t.Fatal(err)
	}
	f.appender = bus.NewAppender(js, bus.AppenderOptions{
		Subjects: []string{bus.MailSubject(0), bus.MailSubject(1)}, PublishTimeout: retry, RetryFor: retry,
	})
	t.Cleanup(func() { _ = f.appender.Close(context.Background()) })
	var err error
	if f.bodies, err = bodystore.Open(js, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	f.Queue = NewQueue(f.appender, f.bodies, noop.NewTracerProvider().Tracer(""))
	return f
}

// stored lists the body store.
func (f *fixture) stored(t *testing.T) (list []bodystore.Entry) {
	t.Helper()
	for e, err := range f.bodies.List(t.Context(), time.Now().Add(time.Hour)) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// message is one with content of about size bytes, stored where it belongs.
func (f *fixture) message(t *testing.T, size int, recipients ...string) *Message {
	t.Helper()
	f.messages++
	m := &Message{
		ID: fmt.Sprintf("01HX%022d", f.messages), AcceptedAt: time.Now(),
		Envelope: &envelope.Envelope{Recipients: to(t, recipients...)},
	}
	if err := f.Store(t.Context(), m, reader(t, strings.Repeat("some line\r\n", size/11))); err != nil {
		t.Fatal(err)
	}
	return m
}

func reader(t *testing.T, body string) *content.Reader {
	t.Helper()
	r := content.NewReader(&cut{[]byte("From: a@example.org\r\n\r\n" + body)}, content.DefaultRules(), nil)
	if _, err := r.ReadHeader(); err != nil {
		t.Fatal(err)
	}
	r.Prepend([]byte("X-Ours: 1\r\n"))
	return r
}

// cut gives its content in pieces of 1,000 bytes.
type cut struct{ rest []byte }

func (c *cut) Next() ([]byte, error) {
	if len(c.rest) == 0 {
		return nil, io.EOF
	}
	piece := c.rest[:min(1000, len(c.rest))]
	c.rest = c.rest[len(piece):]
	return piece, nil
}

func code(err error) codes.Code {
	if e := rpc.FromError(err); e != nil {
		return e.Code
	}
	return codes.OK
}

func TestContentAtFaultLeavesNothingInTheBodyStore(t *testing.T) {
	f := newFixture(t, 0, time.Second)
	for name, end := range map[string]string{"bare LF": "x\ny", "NUL": "\x00", "long line": strings.Repeat("x", 2000)} {
		m := &Message{ID: strings.ReplaceAll(name, " ", "-"), Envelope: &envelope.Envelope{Recipients: to(t, "b@example.com")}}
		err := f.Store(t.Context(), m, reader(t, strings.Repeat("some line\r\n", 20_000)+end))
		if _, ok := errors.AsType[*content.Fault](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := f.stored(t); len(left) != 0 {
		t.Errorf("left in the body store: %v", left)
	}
}

func TestBodyIsWhatWasRead(t *testing.T) {
	f := newFixture(t, 0, time.Second)
	m := f.message(t, 200_000, "b@example.com")
	if m.BodyRef == "" || m.Inline != nil {
		t.Fatalf("200 kB lie inline: %d bytes", len(m.Inline))
	}
	body, err := f.bodies.Open(t.Context(), m.BodyRef)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	got, err := io.ReadAll(body)
	if err != nil || uint64(len(got)) != m.Facts.Size || !bytes.HasPrefix(got, []byte("X-Ours: 1\r\nFrom: ")) || m.Stored() < int64(len(got)) {
		t.Errorf("%d bytes, facts %+v, %v", len(got), m.Facts, err)
	}
}

// TestLongEnvelopesPushTheContentOut makes records so large that no segment holds them with their contents.
func TestLongEnvelopesPushTheContentOut(t *testing.T) {
	f := newFixture(t, 0, 5*time.Second)
	list := make([]string, 1000)
	for i := range list {
		list[i] = strings.Repeat("x", 60) + fmt.Sprintf("@%s%d.example", strings.Repeat("y", 55)+"."+strings.Repeat("z", 55)+".", i)
	}
	m := f.message(t, 900, list...)
	for i := range m.Envelope.Recipients {
		m.Envelope.Recipients[i].OrcptType, m.Envelope.Recipients[i].OrcptAddress = "rfc822", strings.Repeat("o", 490)
	}
	m.Envelope.EnvID, m.MessageIDHeader = strings.Repeat("e", 100), "<"+strings.Repeat("m", 2500)+">"
	sender, _ := mailaddr.Parse(strings.Repeat("s", 64) + "@" + strings.Repeat("t", 60) + "." + strings.Repeat("t", 60) + ".example")
	m.Envelope.Sender = sender
	if m.BodyRef != "" {
		t.Fatal("the content is not inline at first")
	}
	at, known, err := f.Append(t.Context(), m)
	if err != nil || known {
		t.Fatalf("%v, %v", known, err)
	}
	d, err := bus.ReadSegment(t.Context(), f.server.JetStream(), at.Stream, at.Sequence)
	if err != nil || d.Segment.Len() != 1000 {
		t.Fatalf("%d records in one segment, %v", d.Segment.Len(), err)
	}
	if m.BodyRef == "" || len(f.stored(t)) != 1 {
		t.Error("the content did not move to the body store")
	}
}

func TestG13_ErrorsOfTheQueueAreTyped(t *testing.T) {
	t.Run("full", func(t *testing.T) {
		f := newFixture(t, 1<<20, time.Second)
		var err error
		for range 100 {
			if _, _, err = f.Append(t.Context(), f.message(t, 60_000, "b@example.com")); err != nil {
				break
			}
		}
		e := rpc.FromError(err)
		if e == nil || e.Code != codes.ResourceExhausted || e.Reason != ReasonQueueFull || e.Enhanced.String() != "4.3.1" || e.RetryAfter <= 0 {
			t.Fatalf("err = %v", err)
		}
		if strings.Contains(e.Message, "10077") || strings.Contains(e.Message, "mail.") {
			t.Errorf("the message tells of the inside: %q", e.Message)
		}
		if _, _, err := f.Append(t.Context(), f.message(t, 100_000, "b@example.com")); err != nil && len(f.stored(t)) != 0 {
			t.Error("the content of a refused message is left in the body store")
		}
	})
	t.Run("away", func(t *testing.T) {
		f := newFixture(t, 0, 200*time.Millisecond)
		m := f.message(t, 100_000, "b@example.com")
		f.server.Stop()
		_, _, err := f.Append(t.Context(), m)
		e := rpc.FromError(err)
		if e == nil || e.Code != codes.Unavailable || e.Reason != ReasonQueueAway || e.RetryAfter <= 0 {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		f := newFixture(t, 0, time.Second)
		m := f.message(t, 100_000, "b@example.com")
		if err := f.appender.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.Append(t.Context(), m); code(err) != codes.Unavailable {
			t.Errorf("err = %v", err)
		}
		if left := f.stored(t); len(left) != 0 {
			t.Errorf("left in the body store: %v", left)
		}
	})
}

func TestG14_EndedCallsAreSaidSo(t *testing.T) {
	f := newFixture(t, 0, 5*time.Second)
	f.server.HoldReplies()
	defer f.server.ReleaseReplies()
	for want, end := range map[codes.Code]func() (context.Context, context.CancelFunc){
		codes.DeadlineExceeded: func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 50*time.Millisecond)
		},
		codes.Canceled: func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx, cancel
		},
	} {
		ctx, cancel := end()
		_, _, err := f.Append(ctx, f.message(t, 100, "b@example.com"))
		cancel()
		if code(err) != want {
			t.Errorf("err = %v, want %v", err, want)
		}
	}
}

// full is a body store on a full disk.
type full struct{ err error }

func (f full) Put(context.Context, string, io.Reader) (string, int64, error) { return "", 0, f.err }
func (f full) Delete(context.Context, string) error                          { return f.err }

func TestG13_BodyStoreErrorsAreTyped(t *testing.T) {
	for want, err := range map[codes.Code]error{
		codes.ResourceExhausted: fmt.Errorf("write: %w", syscall.ENOSPC), codes.Unavailable: errors.New("disk broken"),
		codes.InvalidArgument: fmt.Errorf("read: %w", &rpc.Error{Code: codes.InvalidArgument}),
	} {
		q := NewQueue(nil, full{err}, noop.NewTracerProvider().Tracer(""))
		m := &Message{ID: "x", Envelope: &envelope.Envelope{Recipients: to(t, "b@example.com")}}
		if got := q.Store(t.Context(), m, reader(t, strings.Repeat("some line\r\n", 20_000))); code(got) != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
