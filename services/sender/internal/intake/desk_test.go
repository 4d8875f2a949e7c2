// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/ledger"
)

const (
	delivered = eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
	deferred  = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
)

var (
	server  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	local   = time.Now()
	moment  = Moment{Server: server, Local: local, Due: local}
	minutes = []int{0, 1, 5}
)

func record(id string) *eventv1.QueuedMail {
	return &eventv1.QueuedMail{
		MessageId: id, Part: 1, Parts: 1, Destination: "example.test",
		Envelope: &eventv1.Envelope{Recipients: []*eventv1.Recipient{{Address: id + "@example.test"}}},
	}
}

func segment(t *testing.T, stream string, sequence uint64, records ...*eventv1.QueuedMail) bus.Delivery {
	t.Helper()
	var frames []bus.Frame
	for _, r := range records {
		f, err := bus.FrameMail(r, []byte("content of "+r.GetMessageId()))
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
	}
	h, data := bus.EncodeSegment(frames)
	d := bus.Delivery{Stream: stream, Sequence: sequence, Time: server, Header: h, Data: data}
	d.Segment, d.Err = bus.DecodeSegment(h, data)
	return d
}

func records(n int) []*eventv1.QueuedMail {
	var list []*eventv1.QueuedMail
	for i := range n {
		list = append(list, record(fmt.Sprint(i)))
	}
	return list
}

func desk(o Options) *Desk {
	o.Minutes = minutes
	if o.Window == 0 {
		o.Window = 1000
	}
	if o.Ledger == nil {
		o.Ledger = ledger.New(nil)
	}
	return New(o)
}

func result(state eventv1.RecipientState) *eventv1.RecipientResult {
	return &eventv1.RecipientResult{State: state, Recipient: &eventv1.Recipient{Address: "x@example.test"}}
}

// The crash table of queue.md, section 8, as far as it is decided by what is read.
func TestQ09_RecordsOfAHalfSettledSegment(t *testing.T) {
	place := func(i int) ledger.Place { return ledger.Place{Stream: "MAIL", Sequence: 7, Index: i} }
	l := ledger.New(map[string]uint64{"MAIL": 7})
	l.Moved(place(2)) // spilled, or deferred and moved
	l.Outcome(&eventv1.Outcome{Source: place(0).Source(), Results: []*eventv1.RecipientResult{result(delivered)}})
	stored := &eventv1.Outcome{Id: "1.1.1", Source: place(1).Source(), Results: []*eventv1.RecipientResult{result(delivered), result(deferred)}}
	l.Outcome(stored)

	d := desk(Options{Ledger: l, Former: &eventv1.Checkpoint{Floors: []*eventv1.Floor{{Stream: "MAIL", Sequence: 7}}}})
	g, got := d.Read(segment(t, "MAIL", 7, records(4)...), moment)
	if g == nil || len(got) != 2 {
		t.Fatalf("%d records are left to do: %v", len(got), got)
	}
	if got[0].Kind != MoveOn || got[0].Place != place(1) || got[0].Outcome != stored {
		t.Errorf("deferred, not moved: %+v", got[0])
	}
	if got[1].Kind != Attempt || got[1].Place != place(3) || string(got[1].Content) != "content of 3" {
		t.Errorf("nothing stored: %+v", got[1])
	}
	if d.Next("MAIL") != 8 {
		t.Errorf("next is %d", d.Next("MAIL"))
	}
	for range got {
		d.Settled(g)
	}
	if c := d.Checkpoint(server, false, nil); floor(c, "MAIL") != 8 {
		t.Errorf("floor %v", c.GetFloors())
	}
}

func floor(c *eventv1.Checkpoint, stream string) uint64 {
	for _, f := range c.GetFloors() {
		if f.GetStream() == stream {
			return f.GetSequence()
		}
	}
	return 0
}

func TestASettledSegmentIsPassedOver(t *testing.T) {
	l := ledger.New(nil)
	for i := range 3 {
		l.Moved(ledger.Place{Stream: "MAIL", Sequence: 1, Index: i})
	}
	d := desk(Options{Ledger: l})
	if g, got := d.Read(segment(t, "MAIL", 1, records(3)...), moment); g != nil || len(got) != 0 {
		t.Errorf("something is left: %v", got)
	}
	if held, bytes := d.Held(); held != 0 || bytes != 0 {
		t.Errorf("%d records, %d bytes held", held, bytes)
	}
}

func TestTakeoverSegmentHasNothingToDo(t *testing.T) {
	d := desk(Options{})
	if g, got := d.Read(segment(t, "RETRY_1", 1), moment); g != nil || len(got) != 0 {
		t.Errorf("%v", got)
	}
	if d.Next("RETRY_1") != 2 {
		t.Error("not passed")
	}
}

func TestQ08_MarkedAfterAnUncleanOwner(t *testing.T) {
	l := ledger.New(nil)
	l.Moved(ledger.Place{Stream: "MAIL", Sequence: 1, Index: 1})
	d := desk(Options{
		Ledger: l, Former: &eventv1.Checkpoint{Window: 3}, Last: map[string]uint64{"MAIL": 2, "RETRY_1": 0},
	})
	_, first := d.Read(segment(t, "MAIL", 1, records(3)...), moment)
	_, second := d.Read(segment(t, "MAIL", 2, records(2)...), moment)
	_, third := d.Read(segment(t, "MAIL", 3, records(1)...), moment)
	var marks []bool
	for _, disposition := range append(append(first, second...), third...) {
		marks = append(marks, disposition.Mail.GetPossibleDuplicate())
	}
	if fmt.Sprint(marks) != "[true true true false false]" {
		t.Errorf("marks of the unsettled records: %v; the settled one must not count", marks)
	}
	if c := d.Checkpoint(server, true, nil); c.GetClean() || c.GetWindow() != 1000 {
		t.Errorf("clean though marked records are not settled: %v", c)
	}
}

func TestQ08_AMarkStaysAndAWiderWindowIsHandedOn(t *testing.T) {
	d := desk(Options{Window: 10, Former: &eventv1.Checkpoint{Window: 5000}, Last: map[string]uint64{"MAIL": 1}})
	if c := d.Checkpoint(server, false, nil); c.GetWindow() != 5000 {
		t.Errorf("window handed on is %d", c.GetWindow())
	}
	g, got := d.Read(segment(t, "MAIL", 1, record("a")), moment)
	d.Settled(g)
	if c := d.Checkpoint(server, true, nil); c.GetWindow() != 10 || !c.GetClean() || !got[0].Mail.GetPossibleDuplicate() {
		t.Errorf("%v", c)
	}
	marked := record("b")
	marked.PossibleDuplicate = true
	if _, got := d.Read(segment(t, "RETRY_5", 9, marked), moment); !got[0].Mail.GetPossibleDuplicate() {
		t.Error("a mark was lost on a hop")
	}
}

func TestWaitsGoOnWhereTheStreamsMinutesEnd(t *testing.T) {
	pause := func(d time.Duration) *durationpb.Duration { return durationpb.New(d) }
	tests := map[string]struct {
		stream string
		change func(*eventv1.QueuedMail)
		late   time.Duration
		want   Kind
		detail string
	}{
		"no pause":                     {"RETRY_5", func(*eventv1.QueuedMail) {}, 0, Attempt, ""},
		"the stream is the whole wait": {"RETRY_5", func(m *eventv1.QueuedMail) { m.Pause = pause(5 * time.Minute) }, 0, Attempt, ""},
		"a wait under a minute":        {"RETRY_0", func(m *eventv1.QueuedMail) { m.Pause = pause(2 * time.Second) }, 0, Wait, "2s"},
		"some of it has passed":        {"RETRY_0", func(m *eventv1.QueuedMail) { m.Pause = pause(2 * time.Second) }, 500 * time.Millisecond, Wait, "1.5s"},
		"all of it has passed":         {"RETRY_0", func(m *eventv1.QueuedMail) { m.Pause = pause(2 * time.Second) }, time.Hour, Attempt, ""},
		"a rest over a minute":         {"RETRY_5", func(m *eventv1.QueuedMail) { m.Pause = pause(7 * time.Minute) }, 0, Chain, "RETRY_1 2m0s"},
		"not before a moment":          {"MAIL", func(m *eventv1.QueuedMail) { m.NotBefore = timestamppb.New(server.Add(time.Hour)) }, 0, Chain, "RETRY_5 1h0m0s"},
		"not before a moment soon":     {"MAIL", func(m *eventv1.QueuedMail) { m.NotBefore = timestamppb.New(server.Add(time.Second)) }, 0, Wait, "1s"},
		"not before a moment passed":   {"MAIL", func(m *eventv1.QueuedMail) { m.NotBefore = timestamppb.New(server.Add(-time.Second)) }, 0, Attempt, ""},
		"the longer of both": {"RETRY_1", func(m *eventv1.QueuedMail) {
			m.Pause = pause(time.Minute)
			m.NotBefore = timestamppb.New(server.Add(9 * time.Second))
		}, 0, Wait, "9s"},
		"a pause has no meaning in MAIL":  {"MAIL", func(m *eventv1.QueuedMail) { m.Pause = pause(time.Hour) }, 0, Attempt, ""},
		"a stream no longer configured":   {"RETRY_1", func(m *eventv1.QueuedMail) { m.Pause = pause(time.Minute) }, 0, Attempt, ""},
		"a pause shorter than its stream": {"RETRY_5", func(m *eventv1.QueuedMail) { m.Pause = pause(time.Second) }, 0, Attempt, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := record("a")
			test.change(m)
			at := moment
			at.Due = local.Add(-test.late)
			_, got := desk(Options{}).Read(segment(t, test.stream, 1, m), at)
			if len(got) != 1 || got[0].Kind != test.want {
				t.Fatalf("%+v", got)
			}
			var detail string
			switch test.want {
			case Wait:
				detail = got[0].Until.Sub(local).String()
			case Chain:
				detail = fmt.Sprintf("RETRY_%d %s", got[0].Chained.Minutes, got[0].Chained.Pause)
			}
			if detail != test.detail {
				t.Errorf("%s, want %s", detail, test.detail)
			}
		})
	}
}

func TestQ10_WhatCannotBeDecodedIsHeldAndBlocksNothing(t *testing.T) {
	good := segment(t, "MAIL", 1, records(3)...)
	cut := good
	cut.Data = good.Data[:len(good.Data)-3]
	cut.Segment, cut.Err = bus.DecodeSegment(cut.Header, cut.Data)
	d := desk(Options{})
	g, got := d.Read(cut, moment)
	if len(got) != 3 || got[0].Kind != Attempt || got[1].Kind != Attempt || got[2].Kind != Hold {
		t.Fatalf("%+v", got)
	}
	if got[2].Place.Index != 2 || string(got[2].Content) != string(cut.Data) || got[2].Fault == nil {
		t.Errorf("held: %+v", got[2])
	}
	for range got {
		d.Settled(g)
	}

	// Held once, it is not held again.
	l := ledger.New(nil)
	l.Outcome(&eventv1.Outcome{Source: got[2].Place.Source()})
	if _, again := desk(Options{Ledger: l}).Read(cut, moment); len(again) != 2 {
		t.Errorf("after it was held %d are left", len(again))
	}

	broken := segment(t, "MAIL", 2, record("a"), &eventv1.QueuedMail{MessageId: "b"}, record("c"))
	_, got = d.Read(broken, moment)
	if len(got) != 3 || got[0].Kind != Attempt || got[1].Kind != Hold || got[2].Kind != Attempt {
		t.Errorf("%+v", got)
	}
	none := bus.Delivery{Stream: "MAIL", Sequence: 3, Data: []byte("not a segment")}
	none.Segment, none.Err = bus.DecodeSegment(none.Header, none.Data)
	if _, got = d.Read(none, moment); len(got) != 1 || got[0].Kind != Hold {
		t.Errorf("%+v", got)
	}
}

func TestIdleFloorsFollowTheStreamOnlyWhenAllIsRead(t *testing.T) {
	d := desk(Options{})
	g, _ := d.Read(segment(t, "MAIL", 4, record("a")), moment)
	d.Settled(g)
	d.Idle("MAIL", 900, 10) // 10 is ours and not read
	if got := floor(d.Checkpoint(server, false, nil), "MAIL"); got != 5 {
		t.Errorf("floor passes unread mail: %d", got)
	}
	d.Idle("MAIL", 900, 4)
	if got := floor(d.Checkpoint(server, false, nil), "MAIL"); got != 901 {
		t.Errorf("floor of an idle partition is %d", got)
	}
	d.Idle("RETRY_1", 70, 0)
	if got := floor(d.Checkpoint(server, false, nil), "RETRY_1"); got != 71 {
		t.Errorf("floor of a stream without mail of ours is %d", got)
	}
	if got := floor(d.Checkpoint(server, false, map[string]uint64{"RETRY_1": 60}), "RETRY_1"); got != 61 {
		t.Errorf("floor passes a segment whose answer was lost: %d", got)
	}
}

// roomFor asks for room, and stores a checkpoint where one is wanted first.
func roomFor(d *Desk, stream string, n int, bytes, windowBytes, ledgerBytes int64) bool {
	ok, unsaid := d.Room(stream, n, bytes, windowBytes, ledgerBytes)
	if unsaid {
		say(d)
		ok, _ = d.Room(stream, n, bytes, windowBytes, ledgerBytes)
	}
	return ok
}

// say stores a checkpoint.
func say(d *Desk) *eventv1.Checkpoint {
	c := d.Checkpoint(server, false, nil)
	d.Offered(c)
	d.Stored(c, uint64(time.Now().UnixNano()))
	return c
}

func TestRoomKeepsMailAndRetriesFromShuttingEachOtherOut(t *testing.T) {
	d := desk(Options{Window: 100})
	room := func(stream string, n int) bool { return roomFor(d, stream, n, 10, 1<<20, 1<<20) }
	if !room("MAIL", 5000) {
		t.Error("a large segment never gets in")
	}
	for i := range 3 {
		d.Read(segment(t, "MAIL", uint64(i+1), records(25)...), moment)
	}
	if room("MAIL", 1) {
		t.Error("MAIL takes more than three quarters")
	}
	if !room("RETRY_1", 25) || room("RETRY_1", 26) {
		t.Error("the last quarter is not for RETRY")
	}
	d.Read(segment(t, "RETRY_1", 1, records(10)...), moment)
	if !room("RETRY_5", 15) || room("RETRY_5", 16) {
		t.Error("the window is passed")
	}
}

func TestRoomIsBoundedInBytesAndByTheLedger(t *testing.T) {
	d := desk(Options{Window: 10000})
	del := segment(t, "MAIL", 1, records(10)...)
	d.Read(del, moment)
	size := int64(len(del.Data))
	if roomFor(d, "MAIL", 10, size, 2*size, 1<<20) || !roomFor(d, "MAIL", 10, size, 4*size, 1<<20) {
		t.Error("bytes are not bounded")
	}
	if roomFor(d, "MAIL", 10, size, 4*size, 64) {
		t.Error("reads on though a ledger would not hold it")
	}
	if !roomFor(d, "RETRY_1", 10, size, size, 1<<20) {
		t.Error("RETRY is shut out by the bytes of MAIL")
	}
}
