// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func outcome(p Place, states ...eventv1.RecipientState) *eventv1.Outcome {
	o := &eventv1.Outcome{Source: p.Source()}
	for _, s := range states {
		o.Results = append(o.Results, &eventv1.RecipientResult{State: s})
	}
	return o
}

const (
	delivered = eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
	bounced   = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
	deferred  = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
	held      = eventv1.RecipientState_RECIPIENT_STATE_HELD
)

func TestQ09_WhatIsStoredSaysWhatIsLeftToDo(t *testing.T) {
	p := Place{Stream: "MAIL", Sequence: 7, Index: 200}
	tests := map[string]struct {
		fold func(*Ledger)
		want State
	}{
		"nothing stored":                       {func(*Ledger) {}, Open},
		"outcome final for all":                {func(l *Ledger) { l.Outcome(outcome(p, delivered, bounced)) }, Settled},
		"outcome without results":              {func(l *Ledger) { l.Outcome(outcome(p)) }, Settled},
		"held":                                 {func(l *Ledger) { l.Outcome(outcome(p, held)) }, Settled},
		"outcome leaves recipients":            {func(l *Ledger) { l.Outcome(outcome(p, delivered, deferred)) }, Deferred},
		"the same outcome stored twice":        {func(l *Ledger) { l.Outcome(outcome(p, deferred)); l.Outcome(outcome(p, deferred)) }, Deferred},
		"outcome leaves recipients, and moved": {func(l *Ledger) { l.Moved(p); l.Outcome(outcome(p, deferred)) }, Settled},
		"moved after the outcome was noted":    {func(l *Ledger) { l.Outcome(outcome(p, deferred)); l.Moved(p) }, Settled},
		"moved without an outcome":             {func(l *Ledger) { l.Moved(p) }, Settled},
		"its neighbour settled":                {func(l *Ledger) { l.Moved(Place{"MAIL", 7, 199}) }, Open},
		"the same place in another stream":     {func(l *Ledger) { l.Moved(Place{"RETRY_5", 7, 200}) }, Open},
		"an outcome without source":            {func(l *Ledger) { l.Outcome(&eventv1.Outcome{}) }, Open},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := New(nil)
			test.fold(l)
			if got := l.State(p); got != test.want {
				t.Errorf("state is %d, want %d", got, test.want)
			}
			if has := l.Deferral(p) != nil; has != (test.want == Deferred) {
				t.Errorf("outcome to carry on from: %v", has)
			}
		})
	}
}

func TestBelowTheFloorAllIsSettled(t *testing.T) {
	l := New(map[string]uint64{"MAIL": 10})
	if got := l.State(Place{"MAIL", 9, 0}); got != Settled {
		t.Errorf("below the floor: %d", got)
	}
	if got := l.State(Place{"MAIL", 10, 0}); got != Open {
		t.Errorf("at the floor: %d", got)
	}
	l.Moved(Place{"MAIL", 9, 3})
	l.Outcome(outcome(Place{"MAIL", 8, 0}, deferred))
	if !l.Empty() {
		t.Error("what lies below the floor takes memory")
	}
}

func TestReadSegmentsAreForgotten(t *testing.T) {
	l := New(nil)
	for seq := uint64(1); seq <= 100; seq++ {
		l.Moved(Place{"MAIL", seq, int(seq)})
		l.Outcome(outcome(Place{"RETRY_1", seq, 0}, deferred))
	}
	if !l.Knows("MAIL", 50) || l.Knows("MAIL", 101) || l.Knows("PARK", 1) {
		t.Fatal("Knows is wrong")
	}
	l.Passed("MAIL", 40) // segments 1 to 39 were purged, or never came by
	if l.Knows("MAIL", 40) || !l.Knows("MAIL", 41) {
		t.Error("passed up to 40, but 40 is known or 41 is not")
	}
	l.Passed("MAIL", 1000)
	if l.Empty() {
		t.Error("RETRY_1 was not read, yet the ledger is empty")
	}
	l.Passed("RETRY_1", 99)
	if l.Deferral(Place{"RETRY_1", 99, 0}) != nil || l.Deferral(Place{"RETRY_1", 100, 0}) == nil {
		t.Error("outcomes of read segments are kept, or those of unread ones are not")
	}
	l.Passed("RETRY_1", 100)
	l.Passed("RETRY_5", 100)
	if !l.Empty() {
		t.Errorf("all is read, yet %d bytes are left", l.Size())
	}
}

func TestEntriesNotedAfterAPassAreForgottenToo(t *testing.T) {
	l := New(nil)
	l.Moved(Place{"MAIL", 5, 0})
	l.Passed("MAIL", 1)
	l.Moved(Place{"MAIL", 3, 0})
	l.Passed("MAIL", 4)
	if l.Knows("MAIL", 3) || !l.Knows("MAIL", 5) {
		t.Error("the order was not made anew")
	}
}

// A segment of 256 records takes about 112 bytes (queue.md, section 4).
func TestAFullSegmentTakesAHundredBytes(t *testing.T) {
	l := New(nil)
	for i := range 256 {
		l.Moved(Place{"MAIL", 1, i})
	}
	if l.Size() < 64 || l.Size() > 128 {
		t.Errorf("a segment of 256 takes %d bytes", l.Size())
	}
}

func TestPlaceAndSourceAreTheSame(t *testing.T) {
	p := Place{"RETRY_240", 1 << 40, 255}
	if got, ok := PlaceOf(p.Source()); !ok || got != p {
		t.Errorf("%v became %v", p, got)
	}
	if _, ok := PlaceOf(nil); ok {
		t.Error("no source is a place")
	}
	if _, ok := PlaceOf(&eventv1.Source{Stream: "MAIL", Index: 1 << 31}); ok {
		t.Error("an index no segment can have would make the ledger allocate for it")
	}
}
