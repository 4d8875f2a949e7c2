// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestReadNextAndReadSegment(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	for _, subject := range []string{"retry.5.0", "retry.5.1", "retry.5.0"} {
		publish(t, js, subject, "m-"+subject)
	}
	for _, c := range []struct {
		subject    string
		from, want uint64
	}{{"retry.5.0", 0, 1}, {"retry.5.0", 1, 1}, {"retry.5.0", 2, 3}, {"retry.5.*", 2, 2}, {"retry.5.1", 3, 0}, {"retry.5.0", 4, 0}, {"retry.5.7", 1, 0}} {
		d, err := ReadNext(testContext(t), js, RetryStream(5), c.subject, c.from)
		if c.want == 0 {
			if !errors.Is(err, ErrNoMore) {
				t.Errorf("%s from %d: got %d, %v", c.subject, c.from, d.Sequence, err)
			}
			continue
		}
		if err != nil || d.Sequence != c.want || d.Err != nil || d.Segment.Len() != 1 || d.Time.IsZero() || d.Stream != "RETRY_5" {
			t.Errorf("%s from %d: got %+v, %v; want %d", c.subject, c.from, d, err, c.want)
		}
	}
	d, err := ReadSegment(testContext(t), js, RetryStream(5), 2)
	if err != nil || d.Subject != "retry.5.1" || d.Err != nil || d.Sequence != 2 {
		t.Errorf("got %+v, %v", d, err)
	}
	if len(d.Header) != 2 { // as it was stored, without what the answer adds
		t.Errorf("header %v", d.Header)
	}
	if _, err := ReadSegment(testContext(t), js, RetryStream(5), 9); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("a message that is not there: %v", err)
	}
	if _, err := ReadSegment(testContext(t), js, "RETRY_7", 1); err == nil || errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("a stream that is not there: %v", err)
	}
}

// A stream made before direct gets were switched on is read from its leader.
func TestReadWithoutDirectGets(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	s, err := js.Stream(testContext(t), StreamMail)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.AllowDirect = false
	if _, err := js.UpdateStream(testContext(t), cfg); err != nil {
		t.Fatal(err)
	}
	publish(t, js, MailSubject(0), "m")
	if d, err := ReadSegment(testContext(t), js, StreamMail, 1); err != nil || d.Err != nil || d.Segment.Len() != 1 {
		t.Errorf("got %+v, %v", d, err)
	}
}

func BenchmarkReadNext(b *testing.B) {
	_, js := startBus(b)
	for _, c := range []struct {
		name    string
		records int
	}{{"1 record", 1}, {"256 records of 2 KiB", 256}} {
		frames := make([]Frame, c.records)
		for i := range frames {
			frames[i] = mailFrame(b, "01J00000000000000000000000", bytes.Repeat([]byte("x"), 2048))
		}
		h, data := EncodeSegment(frames)
		ack, err := js.PublishMsg(testContext(b), &nats.Msg{Subject: RetrySubject(5, 0), Header: h, Data: data})
		if err != nil {
			b.Fatal(err)
		}
		for name, get := range map[string]func() error{
			"direct": func() error {
				_, err := ReadNext(context.Background(), js, RetryStream(5), RetrySubject(5, 0), ack.Sequence)
				return err
			},
			"leader": func() error {
				_, err := leaderGet(context.Background(), js, RetryStream(5), getRequest{Seq: ack.Sequence, NextFor: RetrySubject(5, 0)})
				return err
			},
		} {
			b.Run(c.name+" "+name, func(b *testing.B) {
				for b.Loop() {
					if err := get(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
