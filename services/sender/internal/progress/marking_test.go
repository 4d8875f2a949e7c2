// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func unclean(window uint32) *eventv1.Checkpoint { return &eventv1.Checkpoint{Window: window} }

func TestQ08_FirstWindowOfUnsettledRecordsIsMarked(t *testing.T) {
	m := NewMarking(unclean(3), map[string]uint64{"MAIL": 10, "RETRY_1": 10})
	var marked int
	for range 5 {
		if m.Mark("MAIL", 4) {
			marked++
		}
	}
	if marked != 3 {
		t.Errorf("%d of MAIL marked, want 3", marked)
	}
	if !m.Mark("RETRY_1", 1) {
		t.Error("each stream has a window of its own: what was held of each is not known")
	}
	if m.Mark("PARK", 1) {
		t.Error("a stream that is not read is marked")
	}
}

func TestQ08_WhatCameAfterTheTakeoverIsNotMarked(t *testing.T) {
	m := NewMarking(unclean(100), map[string]uint64{"MAIL": 10})
	if !m.Mark("MAIL", 10) || m.Mark("MAIL", 11) {
		t.Error("the last segment before the takeover is not marked, or the first after it is")
	}
}

func TestQ08_OfEachStreamAsManyAreMarkedAsWereHeld(t *testing.T) {
	former := unclean(1000)
	former.Floors = []*eventv1.Floor{
		{Stream: "MAIL", Held: new(uint32(3))}, {Stream: "RETRY_1", Held: new(uint32(0))}, {Stream: "RETRY_5"},
	}
	m := NewMarking(former, map[string]uint64{"MAIL": 100, "RETRY_1": 100, "RETRY_5": 100, "RETRY_7": 100})
	for name, want := range map[string]int{"MAIL": 3, "RETRY_1": 0, "RETRY_5": 100, "RETRY_7": 100} {
		marked := 0
		for range 100 {
			if m.Mark(name, 4) {
				marked++
			}
		}
		if marked != want {
			t.Errorf("%s: %d marked, want %d", name, marked, want)
		}
	}
	if owed := m.Owed(func(string) uint64 { return 1 }); owed["MAIL"] != 3 || owed["RETRY_5"] != 1000 || len(owed) != 3 {
		t.Errorf("owed %v", owed)
	}
}

func TestNothingIsMarkedAfterACleanOwnerOrNone(t *testing.T) {
	for name, former := range map[string]*eventv1.Checkpoint{"clean": {Window: 5, Clean: true}, "none": nil} {
		m := NewMarking(former, map[string]uint64{"MAIL": 10})
		if m.Mark("MAIL", 1) || len(m.Owed(func(string) uint64 { return 1 })) != 0 {
			t.Errorf("%s: marked", name)
		}
	}
}

// An owner that took over after a crash, read what has to be marked, and is stopped before it settled it, must not
// leave a clean checkpoint: its successor would not mark (a hole between "two crashes in a row" and "clean").
func TestQ08_DebtIsHandedOnUntilItsRecordsAreSettled(t *testing.T) {
	m := NewMarking(unclean(2), map[string]uint64{"MAIL": 10, "RETRY_1": 7})
	floors := map[string]uint64{"MAIL": 1, "RETRY_1": 1}
	owed := func() map[string]int { return m.Owed(func(name string) uint64 { return floors[name] }) }
	if got := owed(); got["MAIL"] != 2 || got["RETRY_1"] != 2 {
		t.Fatalf("owes %v at the start", got)
	}
	m.Mark("MAIL", 3)
	m.Mark("MAIL", 4) // the window ends here
	floors["MAIL"] = 4
	floors["RETRY_1"] = 8 // all that existed is settled
	if got := owed(); got["MAIL"] != 2 || got["RETRY_1"] != 0 {
		t.Error("paid off though the last marked record is not settled")
	}
	floors["MAIL"] = 5
	if len(owed()) != 0 {
		t.Error("owes still, though every record that was marked is settled")
	}
}
