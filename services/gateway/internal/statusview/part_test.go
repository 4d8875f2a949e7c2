// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

var start = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

const (
	queued    = eventv1.RecipientState_RECIPIENT_STATE_QUEUED
	deferred  = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
	delivered = eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
	bounced   = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
	cancelled = eventv1.RecipientState_RECIPIENT_STATE_CANCELLED
	held      = eventv1.RecipientState_RECIPIENT_STATE_HELD
)

func recipient(index uint32) *eventv1.Recipient {
	return &eventv1.Recipient{Address: fmt.Sprintf("user%d@example.com", index), Index: index}
}

// record is a record of the message with some recipients.
func record(change func(*eventv1.QueuedMail), indices ...uint32) *eventv1.QueuedMail {
	r := &eventv1.QueuedMail{
		MessageId: "01HX0000000000000000000000", Part: 1, Parts: 1, Destination: "example.com", Tenant: "t", Tag: "g", Caller: "shop",
		Priority: eventv1.Priority_PRIORITY_URGENT, AcceptedAt: timestamppb.New(start),
		Envelope: &eventv1.Envelope{Sender: "a@example.org"},
		Content:  &eventv1.Content{Size: 99, MessageIdHeader: "<1@example.org>"},
		Trace:    &eventv1.TraceContext{Traceparent: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"},
	}
	for _, i := range indices {
		r.Envelope.Recipients = append(r.Envelope.Recipients, recipient(i))
	}
	if change != nil {
		change(r)
	}
	return r
}

// outcome is what an attempt settled, at n minutes.
func outcome(n uint32, results ...*eventv1.RecipientResult) *eventv1.Outcome {
	at := start.Add(time.Duration(n) * time.Minute)
	o := &eventv1.Outcome{
		Id: fmt.Sprintf("01HX0000000000000000000000.1.%d", n), MessageId: "01HX0000000000000000000000", Part: 1, Parts: 1,
		Destination: "example.com", Tenant: "t", Tag: "g", Priority: eventv1.Priority_PRIORITY_URGENT,
		EnvelopeSender: "a@example.org", AcceptedAt: timestamppb.New(start), DecidedAt: timestamppb.New(at),
		Content:      &eventv1.Content{Size: 99, MessageIdHeader: "<1@example.org>"},
		Trace:        &eventv1.TraceContext{Traceparent: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"},
		Attempt:      &eventv1.Attempt{Number: n, StartedAt: timestamppb.New(at), Hosts: []*eventv1.HostTry{{Host: "mx.example.com"}}},
		Results:      results,
		Hop:          n - 1,
		SubmitDigest: nil,
	}
	for _, r := range results {
		if r.GetState() == deferred {
			o.Pause = durationpb.New(5 * time.Minute)
		}
	}
	return o
}

func settledAs(index uint32, state eventv1.RecipientState) *eventv1.RecipientResult {
	r := &eventv1.RecipientResult{Recipient: recipient(index), State: state}
	switch state {
	case deferred:
		r.Status = &eventv1.EnhancedCode{Class: 4, Subject: 4, Detail: 2}
		r.Failure = &eventv1.Failure{Reason: "no_greeting", Detail: "nothing came", Status: r.Status}
		r.Recipient.LastFailure = r.Failure
	case bounced:
		r.Status = &eventv1.EnhancedCode{Class: 5, Subject: 1, Detail: 1}
		r.Failure = &eventv1.Failure{Reply: &eventv1.Reply{Code: 550, Lines: []string{"no"}}, Status: r.Status}
	default:
		r.Status = &eventv1.EnhancedCode{Class: 2}
		r.Reply = &eventv1.Reply{Code: 250, Lines: []string{"ok"}}
	}
	return r
}

// retry is the copy of the record that waits after attempt n.
func retry(n uint32, outcomes []*eventv1.Outcome, indices ...uint32) *eventv1.QueuedMail {
	return record(func(r *eventv1.QueuedMail) {
		r.Attempt, r.Hop, r.MovedFor = n, n, "retry"
		r.History = new(eventv1.History)
		for _, o := range outcomes {
			r.History.First = append(r.History.First, o.GetAttempt())
			r.History.Attempts++
		}
		for _, to := range r.GetEnvelope().GetRecipients() {
			to.LastFailure = settledAs(to.GetIndex(), deferred).GetFailure()
		}
	}, indices...)
}

// step folds one record or outcome.
type step func(*part)

// shown presents one part as a message.
func shown(p *part) *gatewayv1.Message {
	m := fromRecord(record(nil, 0))
	return proto.CloneOf(new(View).present(m, []*part{p}))
}

// TestFoldOrderDoesNotMatter folds the life of a record in every order in which its streams may be read.
func TestFoldOrderDoesNotMatter(t *testing.T) {
	first := outcome(1, settledAs(0, delivered), settledAs(1, deferred), settledAs(2, deferred))
	second := outcome(2, settledAs(1, bounced), settledAs(2, deferred))
	third := outcome(3, settledAs(2, delivered))
	mail := []step{func(p *part) { p.accepted(record(nil, 0, 1, 2)) }}
	retries := []step{
		func(p *part) { p.moved(retry(1, []*eventv1.Outcome{first}, 1, 2), start.Add(6*time.Minute)) },
		func(p *part) { p.moved(retry(2, []*eventv1.Outcome{first, second}, 2), start.Add(12*time.Minute)) },
	}
	outcomes := []step{
		func(p *part) { p.settled(proto.CloneOf(first)) },
		func(p *part) { p.settled(proto.CloneOf(second)) },
		func(p *part) { p.settled(proto.CloneOf(third)) },
	}
	var want *gatewayv1.Message
	n := 0
	interleave(mail, retries, outcomes, nil, func(order []step) {
		n++
		p := &part{messageID: "01HX0000000000000000000000", number: 1}
		for _, s := range order {
			s(p)
		}
		got := shown(p)
		if want == nil {
			want = got
		}
		if !proto.Equal(got, want) {
			t.Fatalf("another order gives\n%s\ninstead of\n%s", prototext.Format(got), prototext.Format(want))
		}
	})
	if n != 60 {
		t.Errorf("%d orders were tried, want 60", n)
	}
	if want.GetState() != gatewayv1.MessageState_MESSAGE_STATE_DONE {
		t.Errorf("state %v", want.GetState())
	}
	for i, attempts := range []int{1, 2, 3} {
		r := want.GetRecipients()[i]
		if len(r.GetAttempts()) != attempts || r.GetAddress() != fmt.Sprintf("user%d@example.com", i) || r.GetNextAttemptAt() != nil {
			t.Errorf("recipient %d: %v", i, r)
		}
	}
	if r := want.GetRecipients()[1]; r.GetStatus() != "5.1.1" || r.GetReply().GetCode() != 550 || r.GetState() != bounced {
		t.Errorf("bounced recipient %v", r)
	}
}

// interleave calls fn with every order that keeps the order of each list.
func interleave(a, b, c, done []step, fn func([]step)) {
	if len(a)+len(b)+len(c) == 0 {
		fn(done)
		return
	}
	if len(a) > 0 {
		interleave(a[1:], b, c, append(slices.Clone(done), a[0]), fn)
	}
	if len(b) > 0 {
		interleave(a, b[1:], c, append(slices.Clone(done), b[0]), fn)
	}
	if len(c) > 0 {
		interleave(a, b, c[1:], append(slices.Clone(done), c[0]), fn)
	}
}

func TestDeferredRecipientShowsWhenItIsTriedNext(t *testing.T) {
	first := outcome(1, settledAs(0, deferred))
	p := new(part)
	p.accepted(record(nil, 0))
	if m := shown(p); m.GetState() != gatewayv1.MessageState_MESSAGE_STATE_ACCEPTED || m.GetRecipients()[0].GetState() != queued {
		t.Errorf("accepted: %v", m)
	}
	p.settled(first)
	r := shown(p).GetRecipients()[0]
	if !r.GetNextAttemptAt().AsTime().Equal(start.Add(6*time.Minute)) || r.GetReason() != "no_greeting" || r.GetStatus() != "4.4.2" || r.GetDetail() == "" {
		t.Errorf("after the outcome: %v", r)
	}
	p.moved(retry(1, []*eventv1.Outcome{first}, 0), start.Add(7*time.Minute))
	if r = shown(p).GetRecipients()[0]; !r.GetNextAttemptAt().AsTime().Equal(start.Add(7 * time.Minute)) {
		t.Errorf("the RETRY stream says when: %v", r)
	}
	p.moved(record(func(m *eventv1.QueuedMail) { m.Attempt, m.Hop, m.MovedFor = 1, 2, "spill" }, 0), start.Add(9*time.Minute))
	r = shown(p).GetRecipients()[0]
	if r.GetState() != deferred || r.GetReason() != "no_greeting" || !r.GetNextAttemptAt().AsTime().Equal(start.Add(9*time.Minute)) {
		t.Errorf("after a spill: %v", r)
	}
}

func TestHeldReleasedCancelled(t *testing.T) {
	p := new(part)
	p.accepted(record(nil, 0, 1))
	p.moved(record(func(m *eventv1.QueuedMail) { m.Hop, m.MovedFor = 1, "hold" }, 0, 1), time.Time{})
	if m := shown(p); m.GetRecipients()[0].GetState() != held || m.GetState() != gatewayv1.MessageState_MESSAGE_STATE_ACTIVE {
		t.Errorf("held: %v", m)
	}
	p.moved(record(func(m *eventv1.QueuedMail) { m.Hop, m.MovedFor = 2, "scan" }, 0, 1), start)
	if m := shown(p); m.GetRecipients()[1].GetState() != queued {
		t.Errorf("released: %v", m)
	}
	o := outcome(1, settledAs(0, cancelled), settledAs(1, cancelled))
	o.Attempt, o.Actor = nil, "operator"
	p.settled(o)
	if m := shown(p); m.GetRecipients()[0].GetState() != cancelled || m.GetState() != gatewayv1.MessageState_MESSAGE_STATE_DONE || len(m.GetRecipients()[0].GetAttempts()) != 0 {
		t.Errorf("cancelled: %v", m)
	}
}

func TestQ02_FinalStaysFinal(t *testing.T) {
	p := new(part)
	p.settled(outcome(2, settledAs(0, delivered)))
	p.settled(outcome(1, settledAs(0, deferred)))
	p.moved(retry(1, nil, 0), start)
	p.accepted(record(nil, 0))
	if r := shown(p).GetRecipients()[0]; r.GetState() != delivered || len(r.GetAttempts()) != 2 {
		t.Errorf("got %v", r)
	}
}

func TestO02_FirstAndLastFiveAttempts(t *testing.T) {
	p := new(part)
	for _, n := range []uint32{3, 1, 2, 4, 5, 6, 8, 7, 9, 12, 11, 10, 12} {
		p.settled(outcome(n, settledAs(0, deferred)))
	}
	var numbers []uint32
	for _, a := range shown(p).GetRecipients()[0].GetAttempts() {
		numbers = append(numbers, a.GetNumber())
	}
	if !slices.Equal(numbers, []uint32{1, 2, 3, 4, 5, 8, 9, 10, 11, 12}) || p.history.GetAttempts() != 12 {
		t.Errorf("kept %v of %d", numbers, p.history.GetAttempts())
	}
}

func TestRowsRoundTrip(t *testing.T) {
	p := new(part)
	p.accepted(record(nil, 0, 1))
	p.settled(outcome(1, settledAs(0, bounced), settledAs(1, deferred)))
	data, err := encodeResults(p.results)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeResults(data)
	if err != nil || len(got) != 2 {
		t.Fatalf("%d results, %v", len(got), err)
	}
	for i := range got {
		if got[i].attempt != p.results[i].attempt || !proto.Equal(got[i].RecipientResult, p.results[i].RecipientResult) {
			t.Errorf("result %d differs", i)
		}
	}
	if p.states() != 1<<bounced|1<<deferred {
		t.Errorf("states %b", p.states())
	}
	for cut := 1; cut < len(data); cut++ {
		if got, err := decodeResults(data[:cut]); err == nil && len(got) == 2 {
			t.Errorf("cut at %d: no error", cut)
		}
	}
}

func FuzzDecodeResults(f *testing.F) {
	data, _ := encodeResults([]result{{1, settledAs(0, bounced)}})
	f.Add(data)
	f.Add([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		results, err := decodeResults(data)
		if err != nil {
			return
		}
		if _, err := encodeResults(results); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLagGoesByObservations(t *testing.T) {
	now := start
	l := newLag(func() time.Time { return now }, map[string]uint64{"MAIL": 5, "OUTCOME": 0})
	if _, ok := l.behind(); ok {
		t.Error("caught up before anything was observed")
	}
	l.observe(start, map[string]uint64{"MAIL": 7, "OUTCOME": 1})
	l.reached(map[string]uint64{"MAIL": 7})
	if _, ok := l.behind(); ok {
		t.Error("caught up though OUTCOME is not folded")
	}
	now = start.Add(10 * time.Second)
	l.observe(now, map[string]uint64{"MAIL": 9, "OUTCOME": 1})
	l.reached(map[string]uint64{"OUTCOME": 1})
	if d, ok := l.behind(); !ok || d != 10*time.Second {
		t.Errorf("behind %v, %v", d, ok)
	}
	l.reached(map[string]uint64{"MAIL": 20})
	if d, ok := l.behind(); !ok || d != 0 {
		t.Errorf("behind %v, %v", d, ok)
	}
	if !l.has("MAIL", 20) || l.has("MAIL", 21) || l.position("MAIL") != 20 {
		t.Error("position is wrong")
	}
	for range 2 * maxObservations {
		now = now.Add(time.Second)
		l.observe(now, map[string]uint64{"MAIL": 1000})
	}
	if len(l.pending) != maxObservations {
		t.Errorf("%d observations are kept", len(l.pending))
	}
	if d, _ := l.behind(); d != 2*maxObservations*time.Second {
		t.Errorf("behind %v", d)
	}
}
