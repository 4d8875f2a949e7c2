// SPDX-License-Identifier: Apache-2.0

//go:build load

package load

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// senders is a sender on a nats-server of its own, without anybody who accepts mail. Whatever it attempts fails before
// any DNS or SMTP work, as too large for its destination: what is measured is the queue.
type senders struct {
	suite *suite.Suite
	js    jetstream.JetStream
	url   string
	name  *nats.Conn
}

func newSenders(t *testing.T) *senders {
	t.Helper()
	s := &senders{suite: suite.New(t, suite.Options{LogDir: t.TempDir(), Env: []string{"OTEL_SDK_DISABLED=true"}})}
	s.url = s.suite.StartNATS(t, 0)
	var err error
	if s.name, err = nats.Connect(s.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.name.Close)
	if s.js, err = jetstream.New(s.name); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *senders) start(t *testing.T, partitions int) *suite.Process {
	t.Helper()
	p := s.suite.Launch(t, "sender", "sender", suite.Settings{
		"nats.url": s.url, "nats.replicas": 1, "queue.partitions": partitions, "sender.listen": "127.0.0.1:0",
		"sender.resolver_address": "127.0.0.1:9", "node.http_listen": "off",
		"sender.destinations": []map[string]any{{"match": "*", "max_size": 1}},
	})
	p.Serving(t)
	return p
}

// segment appends a segment of records to a subject.
func (s *senders) segment(ctx context.Context, t *testing.T, subject string, from, n int) uint64 {
	t.Helper()
	body := []byte("From: a@sender.example\r\nSubject: load\r\n\r\n" + strings.Repeat("x", 1000) + "\r\n")
	frames := make([]bus.Frame, n)
	for i := range frames {
		domain := fmt.Sprintf("d%d.example", (from+i)%1000)
		var err error
		frames[i], err = bus.FrameMail(&eventv1.QueuedMail{
			MessageId: fmt.Sprintf("m%d", from+i), Part: 1, Parts: 1, Destination: domain, AcceptedAt: timestamppb.Now(),
			Envelope: &eventv1.Envelope{Recipients: []*eventv1.Recipient{{Address: "r@" + domain}}},
			Content:  &eventv1.Content{Size: uint64(len(body)), HeaderSize: 41},
		}, body)
		if err != nil {
			t.Fatal(err)
		}
	}
	header, data := bus.EncodeSegment(frames)
	ack, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Header: header, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// testRetryFlood: a million records are written to RETRY_5 within five minutes. They are attempted as they come due,
// late by less than three seconds for 99 of 100, and the sender's memory stays flat.
func testRetryFlood(t *testing.T) {
	records, minutes := number(t, "LOAD_RECORDS", 1_000_000), number(t, "LOAD_STREAM", 5)
	within := time.Duration(number(t, "LOAD_SECONDS", 280)) * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), within+time.Duration(minutes)*time.Minute+3*time.Minute)
	defer cancel()
	s := newSenders(t)
	if err := bus.Ensure(ctx, s.js, bus.Layout{Partitions: 1, Replicas: 1, MaxStore: 20 << 30}); err != nil {
		t.Fatal(err)
	}
	const most = bus.MaxSegmentRecords
	stored := make(map[uint64]time.Time)
	began := time.Now()
	for n := 0; n < records; n += most {
		sequence := s.segment(ctx, t, bus.RetrySubject(minutes, 0), n, min(most, records-n))
		stored[sequence] = time.Now()
		time.Sleep(time.Until(began.Add(time.Duration(float64(within) * float64(n) / float64(records)))))
	}
	t.Logf("%d records in %s", records, time.Since(began).Round(time.Second))
	p := s.start(t, 1)

	var late []time.Duration
	samples := make([]int, 0, 1000)
	reader, err := bus.NewReader(ctx, s.js, bus.ReaderOptions{Stream: bus.StreamOutcome})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	sampled := time.Now()
	for len(late) < records {
		d, err := reader.Next(ctx)
		if err != nil {
			t.Fatalf("%d of %d records are settled: %v", len(late), records, err)
		}
		for i := range d.Segment.Len() {
			frame, err := d.Segment.Frame(i)
			if err != nil {
				t.Fatal(err)
			}
			o, err := frame.Outcome()
			if err != nil {
				t.Fatal(err)
			}
			due := stored[o.GetSource().GetSequence()].Add(time.Duration(minutes) * time.Minute)
			late = append(late, o.GetDecidedAt().AsTime().Sub(due))
		}
		if time.Since(sampled) > time.Second {
			samples, sampled = append(samples, memory(t, p)), time.Now()
		}
	}
	slices.Sort(late)
	half := len(samples) / 2
	p50, p99, longest := late[len(late)/2], late[len(late)*99/100], late[len(late)-1]
	early, later := slices.Max(append(samples[:half:half], 0)), slices.Max(append(samples[half:len(samples):len(samples)], 0))
	t.Logf(`{"case": %q, "records": %d, "late_p50_seconds": %.3f, "late_p99_seconds": %.3f, "late_longest_seconds": %.3f, "rss_first_half_mib": %d, "rss_second_half_mib": %d}`,
		t.Name(), len(late), p50.Seconds(), p99.Seconds(), longest.Seconds(), early, later)
	if p99 > 3*time.Second {
		t.Errorf("p99 of lateness is %s", p99)
	}
	if late[0] < -time.Second {
		t.Errorf("a record was attempted %s too early", -late[0])
	}
	if later > early*5/4+32 {
		t.Errorf("memory grows: %d MiB, then %d MiB", early, later)
	}
}

// testIdlePartitions: of 16 partitions one is busy. The others' floors follow, so that MAIL shrinks.
func testIdlePartitions(t *testing.T) {
	runs := time.Duration(number(t, "LOAD_SECONDS", 200)) * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), runs+2*time.Minute)
	defer cancel()
	s := newSenders(t)
	s.start(t, 16)
	n, most := 0, uint64(0)
	for began := time.Now(); time.Since(began) < runs; time.Sleep(20 * time.Millisecond) {
		s.segment(ctx, t, bus.MailSubject(3), n, 10)
		n += 10
		last, err := bus.LastSequences(ctx, s.js, bus.StreamMail)
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, last.Sequence+1-last.First)
	}
	last, err := bus.LastSequences(ctx, s.js, bus.StreamMail)
	if err != nil {
		t.Fatal(err)
	}
	// What is younger than two minutes stays, and a checkpoint of the idle ones comes every ten seconds.
	perSecond := float64(last.Sequence) / runs.Seconds()
	kept := float64(last.Sequence+1-last.First) / perSecond
	t.Logf(`{"case": %q, "records": %d, "segments": %d, "first": %d, "kept_seconds": %.0f, "most_segments": %d}`,
		t.Name(), n, last.Sequence, last.First, kept, most)
	if last.First <= 1 || kept > 145 {
		t.Errorf("MAIL does not shrink: first %d of %d, %.0f s are kept", last.First, last.Sequence, kept)
	}
}
