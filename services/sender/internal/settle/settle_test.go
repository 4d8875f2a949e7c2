// SPDX-License-Identifier: Apache-2.0

package settle

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/ledger"
)

const (
	delivered = eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
	relayed   = eventv1.RecipientState_RECIPIENT_STATE_RELAYED
	deferred  = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
	bounced   = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
	expired   = eventv1.RecipientState_RECIPIENT_STATE_EXPIRED
	held      = eventv1.RecipientState_RECIPIENT_STATE_HELD
)

var (
	place = ledger.Place{Stream: "MAIL", Sequence: 9, Index: 3}
	now   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func mail(recipients ...string) *eventv1.QueuedMail {
	m := &eventv1.QueuedMail{
		MessageId: "01ABC", Part: 2, Parts: 3, Attempt: 1, Hop: 4, Destination: "example.test", MovedFor: "spill",
		Envelope: &eventv1.Envelope{Sender: "a@example.org", Envid: "e1", Ret: eventv1.Ret_RET_FULL},
		Content:  &eventv1.Content{Size: 5000, HeaderSize: 700}, Pause: durationpb.New(time.Hour),
		Source: &eventv1.Source{Stream: "RETRY_1", Sequence: 1},
	}
	for i, r := range recipients {
		m.Envelope.Recipients = append(m.Envelope.Recipients, &eventv1.Recipient{Address: r, Index: uint32(i)})
	}
	return m
}

func outcome(m *eventv1.QueuedMail, states ...eventv1.RecipientState) *eventv1.Outcome {
	o := FromRecord(m, place, now)
	for i, s := range states {
		r := proto.CloneOf(m.GetEnvelope().GetRecipients()[i])
		r.AmbiguousInRow++
		o.Results = append(o.Results, &eventv1.RecipientResult{State: s, Recipient: r})
	}
	o.Attempt = &eventv1.Attempt{Number: m.GetAttempt() + 1}
	return o
}

func TestQ02_RetryListsOnlyWhoIsLeft(t *testing.T) {
	m := mail("a@example.test", "b@example.test", "c@example.test")
	before := proto.CloneOf(m)
	o := outcome(m, delivered, deferred, bounced)
	next := Retry(m, place, o, due.Wait{Minutes: 5, Pause: 5 * time.Minute})
	if got := next.GetEnvelope().GetRecipients(); len(got) != 1 || got[0].GetAddress() != "b@example.test" || got[0].GetAmbiguousInRow() != 1 {
		t.Errorf("recipients %v", got)
	}
	if next.GetAttempt() != 2 || next.GetHop() != 5 || next.GetMovedFor() != "retry" || next.GetPause() != nil {
		t.Errorf("attempt %d, hop %d, moved for %q, pause %v", next.GetAttempt(), next.GetHop(), next.GetMovedFor(), next.GetPause())
	}
	if p, _ := ledger.PlaceOf(next.GetSource()); p != place {
		t.Errorf("source %v", p)
	}
	if next.GetPossibleDuplicate() || next.GetEnvelope().GetEnvid() != "e1" || next.GetHistory().GetAttempts() != 1 {
		t.Errorf("%v", next)
	}
	if !proto.Equal(m, before) {
		t.Error("the record itself was changed")
	}
}

func TestQ08_AnAmbiguousRecipientMarksTheRetry(t *testing.T) {
	m := mail("a@example.test", "b@example.test")
	o := outcome(m, delivered, deferred)
	o.Results[0].PossibleDuplicate = true
	if Retry(m, place, o, due.Wait{}).GetPossibleDuplicate() {
		t.Error("marked for a recipient that is settled")
	}
	o.Results[1].PossibleDuplicate = true
	if !Retry(m, place, o, due.Wait{}).GetPossibleDuplicate() {
		t.Error("not marked")
	}
	m.PossibleDuplicate = true
	o.Results[1].PossibleDuplicate = false
	if !Retry(m, place, o, due.Wait{}).GetPossibleDuplicate() {
		t.Error("the record's own mark is lost")
	}
}

func TestPauseStandsInTheRecordOnlyWhereTheStreamDoesNotSayIt(t *testing.T) {
	for _, w := range []due.Wait{{Minutes: 5, Pause: 7 * time.Minute}, {Minutes: 0, Pause: 2 * time.Second}} {
		if got := Copy(mail("a"), place, ForWait, w).GetPause().AsDuration(); got != w.Pause {
			t.Errorf("%+v: pause %s", w, got)
		}
	}
	for _, w := range []due.Wait{{Minutes: 5, Pause: 5 * time.Minute}, {}} {
		if got := Copy(mail("a"), place, ForWait, w); got.GetPause() != nil || got.GetAttempt() != 1 {
			t.Errorf("%+v: %v", w, got)
		}
	}
}

func TestHistoryKeepsTheFirstAndTheLastFive(t *testing.T) {
	m := mail("a")
	for range 20 {
		m = Retry(m, place, outcome(m, deferred), due.Wait{})
	}
	var numbers []uint32
	for _, a := range append(m.GetHistory().GetFirst(), m.GetHistory().GetLast()...) {
		numbers = append(numbers, a.GetNumber())
	}
	if got := fmt.Sprint(numbers); got != "[2 3 4 5 6 17 18 19 20 21]" || m.GetHistory().GetAttempts() != 20 {
		t.Errorf("kept %s of %d", got, m.GetHistory().GetAttempts())
	}
	o := outcome(m, deferred)
	o.Attempt = nil // it was none
	next := Retry(m, place, o, due.Wait{})
	if h := next.GetHistory(); h.GetAttempts() != 20 || len(h.GetLast()) != 5 || next.GetAttempt() != m.GetAttempt() {
		t.Errorf("%d attempts, history %v", next.GetAttempt(), h)
	}
}

func TestHistoriesDoNotShareMemory(t *testing.T) {
	m := mail("a")
	for range 7 {
		m = Retry(m, place, outcome(m, deferred), due.Wait{})
	}
	one, two := outcome(m, deferred), outcome(m, deferred)
	one.Attempt.Number, two.Attempt.Number = 100, 200
	first := Retry(m, place, one, due.Wait{})
	Retry(m, place, two, due.Wait{})
	last := first.GetHistory().GetLast()
	if got := last[len(last)-1].GetNumber(); got != 100 {
		t.Errorf("the attempt of one record shows up in another: %d", got)
	}
}

func TestWhenANotificationMayBeDue(t *testing.T) {
	tests := map[string]struct {
		change func(*eventv1.Outcome)
		states []eventv1.RecipientState
		want   bus.OutcomeKind
	}{
		"delivered":                     {nil, []eventv1.RecipientState{delivered}, bus.Quiet},
		"one bounced":                   {nil, []eventv1.RecipientState{delivered, bounced}, bus.Notice},
		"expired":                       {nil, []eventv1.RecipientState{expired}, bus.Notice},
		"relayed":                       {nil, []eventv1.RecipientState{relayed}, bus.Notice},
		"deferred":                      {nil, []eventv1.RecipientState{deferred}, bus.Quiet},
		"held":                          {nil, []eventv1.RecipientState{held}, bus.Quiet},
		"D03: bounced, null sender":     {func(o *eventv1.Outcome) { o.EnvelopeSender = "" }, []eventv1.RecipientState{bounced}, bus.Quiet},
		"Q04: delayed":                  {func(o *eventv1.Outcome) { o.Results[0].DelayNoticeDue = true }, []eventv1.RecipientState{deferred}, bus.Notice},
		"cancelled, with a notice":      {func(o *eventv1.Outcome) { o.Results[0].CancelNoticeDue = true }, []eventv1.RecipientState{held}, bus.Notice},
		"Q04: delayed, but null sender": {func(o *eventv1.Outcome) { o.Results[0].DelayNoticeDue = true; o.EnvelopeSender = "" }, []eventv1.RecipientState{deferred}, bus.Quiet},
	}
	for name, test := range tests {
		o := outcome(mail("a", "b"), test.states...)
		if test.change != nil {
			test.change(o)
		}
		if got := Kind(o); got != test.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestD08_WhatIsReturnedOfTheOriginal(t *testing.T) {
	tests := map[string]struct {
		state  eventv1.RecipientState
		change func(*eventv1.Outcome)
		n      int64
		full   bool
	}{
		"RET=FULL":                 {bounced, func(*eventv1.Outcome) {}, 5000, true},
		"RET=HDRS":                 {bounced, func(o *eventv1.Outcome) { o.Ret = eventv1.Ret_RET_HDRS }, 700, false},
		"RET not given":            {expired, func(o *eventv1.Outcome) { o.Ret = eventv1.Ret_RET_UNSPECIFIED }, 700, false},
		"too large":                {bounced, func(o *eventv1.Outcome) { o.Content.Size = 50<<10 + 1 }, 700, false},
		"just small enough":        {bounced, func(o *eventv1.Outcome) { o.Content.Size = 50 << 10 }, 50 << 10, true},
		"D16: REQUIRETLS":          {bounced, func(o *eventv1.Outcome) { o.RequireTls = true }, 700, false},
		"relayed: headers only":    {relayed, func(*eventv1.Outcome) {}, 700, false},
		"quiet":                    {delivered, func(*eventv1.Outcome) {}, 0, false},
		"D03: null sender":         {bounced, func(o *eventv1.Outcome) { o.EnvelopeSender = "" }, 0, false},
		"header longer than it is": {bounced, func(o *eventv1.Outcome) { o.Ret = 0; o.Content.HeaderSize = 9999 }, 5000, false},
	}
	for name, test := range tests {
		o := outcome(mail("a"), test.state)
		test.change(o)
		if n, full := Returned(o); n != test.n || full != test.full {
			t.Errorf("%s: %d bytes, full %v", name, n, full)
		}
	}
}

func TestQ03_ExpiryKeepsTheCause(t *testing.T) {
	o := outcome(mail("a", "b"), delivered, deferred)
	cause := &eventv1.Failure{Reason: "no_greeting"}
	o.Results[1].Failure, o.Results[1].Pause, o.Pause = cause, durationpb.New(time.Hour), durationpb.New(time.Hour)
	o.Results[1].DelayNoticeDue = true
	Expire(o)
	r := o.Results[1]
	if r.GetState() != expired || r.GetPause() != nil || o.GetPause() != nil || r.GetFailure() != cause || r.GetDelayNoticeDue() {
		t.Errorf("%v", r)
	}
	if got := smtpreply.EnhancedFromProto(r.GetStatus()).String(); got != "4.4.7" {
		t.Errorf("status %s", got)
	}
	if o.Results[0].GetState() != delivered || ledger.Remains(o) {
		t.Errorf("%v", o)
	}
}

func TestQ10_HeldOutcomes(t *testing.T) {
	m := mail("a", "b")
	o := Held(m, place, HeldReason{smtpreply.ReasonBodyMissing, "content is gone"}, now)
	if o.GetId() != "01ABC.2.2" || len(o.GetResults()) != 2 || o.Results[0].GetState() != held || o.Results[0].GetFailure().GetReason() != "body_missing" {
		t.Errorf("%v", o)
	}
	o = Held(nil, place, HeldReason{smtpreply.ReasonUndecodable, ""}, now)
	if o.GetId() != "unreadable.MAIL.9.3" || len(o.GetResults()) != 0 || o.GetSource().GetIndex() != 3 || Kind(o) != bus.Quiet {
		t.Errorf("%v", o)
	}
}

func TestMarkMarksAll(t *testing.T) {
	o := outcome(mail("a", "b"), delivered, bounced)
	Mark(o)
	if !o.Results[0].GetPossibleDuplicate() || !o.Results[1].GetPossibleDuplicate() {
		t.Errorf("%v", o)
	}
}

func TestOutcomesOfVerboseHostsStillFitASegment(t *testing.T) {
	var names []string
	var states []eventv1.RecipientState
	for i := range 100 {
		names, states = append(names, fmt.Sprintf("r%d@example.test", i)), append(states, deferred)
	}
	m := mail(names...)
	o := outcome(m, states...)
	long := func() *eventv1.Reply {
		return &eventv1.Reply{Code: 450, Lines: []string{"first", strings.Repeat("ä", 32<<10)}}
	}
	for _, r := range o.Results {
		r.Reply, r.Failure = long(), &eventv1.Failure{Reply: long()}
		r.Recipient.LastFailure = &eventv1.Failure{Reply: long()}
	}
	o.Attempt.Hosts = []*eventv1.HostTry{{Transcript: []string{strings.Repeat("x", 1<<20)}, Failure: &eventv1.Failure{Reply: long()}}}
	Slim(o)
	if size := proto.Size(o); size > fitting {
		t.Errorf("outcome has %d bytes", size)
	}
	lines := o.Results[0].Reply.GetLines()
	if lines[0] != "first" || len(lines[1]) < 990 || !utf8.ValidString(lines[1]) {
		t.Errorf("too much was cut, or within a character: %d bytes", len(lines[1]))
	}
	next := Retry(m, place, o, due.Wait{})
	next.History.First = nil
	for range 5 {
		next.History.First = append(next.History.First, &eventv1.Attempt{Hosts: []*eventv1.HostTry{{Transcript: []string{strings.Repeat("x", 1<<20)}}}})
	}
	SlimHistory(next)
	if size := proto.Size(next); size > fitting {
		t.Errorf("record has %d bytes", size)
	}
	small := outcome(mail("a"), deferred)
	small.Attempt.Hosts = []*eventv1.HostTry{{Transcript: []string{"EHLO"}}}
	if Slim(small); len(small.Attempt.Hosts[0].Transcript) != 1 {
		t.Error("an ordinary outcome was changed")
	}
}
