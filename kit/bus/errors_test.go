// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	api := func(code int, errCode jetstream.ErrorCode) error {
		return fmt.Errorf("nats: %w", &jetstream.APIError{Code: code, ErrorCode: errCode})
	}
	for _, c := range []struct {
		err  error
		want verdict
	}{
		{api(400, 10071), refused},
		{api(503, 10077), full},
		{api(500, 10047), full},
		{api(503, 10023), full},
		{api(400, 10054), tooLarge},
		{nats.ErrMaxPayload, tooLarge},
		{api(400, 10164), notReached},
		{api(409, 10158), notReached},
		{api(503, 10008), notReached},
		{api(400, 10109), notAccepted},
		{nats.ErrNoResponders, notReached},
		{jetstream.ErrNoStreamResponse, notReached},
		{nats.ErrReconnectBufExceeded, notReached},
		{context.DeadlineExceeded, noAnswer},
		{nats.ErrTimeout, noAnswer},
		{jetstream.ErrInvalidJSAck, noAnswer},
		{errors.New("anything else"), noAnswer},
	} {
		if got := classify(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestErrorsNameSubjectAndCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, c := range []struct {
		err  error
		want string
	}{
		{&FullError{Subject: "mail.0", Err: cause}, "append to mail.0: no room: cause"},
		{&UnavailableError{Subject: "mail.0", Err: cause}, "append to mail.0: no answer, nothing was stored: cause"},
		{&UnavailableError{Subject: "mail.0", MaybeStored: true, Err: cause}, "append to mail.0: no answer, it may be stored: cause"},
		{&FencedError{Subject: "retry.0.0", Err: cause}, "append to retry.0.0: taken over by another owner: cause"},
		{&TooLargeError{Subject: "mail.0", Size: 5, Most: 4, Err: cause}, "append to mail.0: 5 bytes, at most 4"},
		{&RejectedError{Subject: "mail.0", Err: cause}, "append to mail.0: cause"},
	} {
		if c.err.Error() != c.want || !errors.Is(c.err, cause) {
			t.Errorf("got %q, wraps the cause: %v", c.err, errors.Is(c.err, cause))
		}
	}
	held := &HeldError{Name: "3", Owner: "b"}
	if held.Error() != "lease 3 is held by b" {
		t.Errorf("got %q", held)
	}
	ahead := &AheadError{Stream: "MAIL", From: 9, Last: 3}
	if !strings.Contains(ahead.Error(), "MAIL") || !strings.Contains(ahead.Error(), "9") {
		t.Errorf("got %q", ahead)
	}
}

func TestAnswersOfTheServerAreTyped(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*jetstream.StreamConfig)
		match  func(error) bool
	}{
		{
			"sealed stream", func(c *jetstream.StreamConfig) { c.Sealed = true },
			func(err error) bool { var e *RejectedError; return errors.As(err, &e) && e.Subject == MailSubject(0) },
		},
		{
			"message over the stream's limit", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 100 },
			func(err error) bool { var e *TooLargeError; return errors.As(err, &e) && e.Size > 100 && e.Err != nil },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, js := startBus(t)
			s, err := js.Stream(testContext(t), StreamMail)
			if err != nil {
				t.Fatal(err)
			}
			cfg := s.CachedInfo().Config
			c.change(&cfg)
			if _, err := js.UpdateStream(testContext(t), cfg); err != nil {
				t.Fatal(err)
			}
			a := newAppender(t, js, AppenderOptions{Subjects: []string{MailSubject(0)}})
			if _, err := a.Append(testContext(t), []Frame{{Content: make([]byte, 200)}}); !c.match(err) {
				t.Errorf("got %T: %v", err, err)
			}
		})
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	s, js := startBus(t)
	body := func() *nats.Msg { return &nats.Msg{Subject: BodySubject("id", 0), Data: []byte("chunk")} }
	for range 2 {
		if seq, err := Publish(testContext(t), js, body(), "once"); err != nil || seq != 1 {
			t.Errorf("got %d, %v", seq, err)
		}
	}
	s.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var unavailable *UnavailableError
	if _, err := Publish(ctx, js, body(), "twice"); !errors.As(err, &unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want an UnavailableError", err)
	}
}

// A server whose JetStream lies behind a domain has other API subjects.
func TestInAJetStreamDomain(t *testing.T) {
	t.Parallel()
	s := startServer(t, func(o *server.Options) { o.JetStreamDomain = "mail" })
	byDomain, err := jetstream.NewWithDomain(s.Conn(), "mail")
	if err != nil {
		t.Fatal(err)
	}
	byPrefix, err := jetstream.NewWithAPIPrefix(s.Conn(), "$JS.mail.API")
	if err != nil {
		t.Fatal(err)
	}
	for i, js := range []jetstream.JetStream{byDomain, byPrefix} {
		if err := Ensure(testContext(t), js, Layout{Partitions: 1, RetryMinutes: []int{0}}); err != nil {
			t.Fatal(err)
		}
		publish(t, js, MailSubject(0), "m")
		expectSequence(t, newReader(t, js, ReaderOptions{Stream: StreamMail, From: uint64(i + 1)}), uint64(i+1))
		if d, err := ReadSegment(testContext(t), js, StreamMail, uint64(i+1)); err != nil || d.Err != nil {
			t.Errorf("%+v, %v", d, err)
		}
		if last, err := lastOfSubject(testContext(t), js, StreamMail, MailSubject(0)); err != nil || last != uint64(i+1) {
			t.Errorf("last is %d, %v", last, err)
		}
	}
}
