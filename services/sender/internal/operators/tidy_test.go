// SPDX-License-Identifier: Apache-2.0

package operators_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/changes"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/operators"
)

const (
	hold      = eventv1.ChangeAction_CHANGE_ACTION_HOLD
	release   = eventv1.ChangeAction_CHANGE_ACTION_RELEASE
	suspend   = eventv1.ChangeAction_CHANGE_ACTION_SUSPEND
	resume    = eventv1.ChangeAction_CHANGE_ACTION_RESUME
	retryNow  = eventv1.ChangeAction_CHANGE_ACTION_RETRY_NOW
	cancelNow = eventv1.ChangeAction_CHANGE_ACTION_CANCEL
)

// book is changes in memory: mirror and store at once.
type book struct {
	list    []changes.Entry
	passed  map[string]int // in how many partitions
	removed []string
}

func (b *book) add(id string, action eventv1.ChangeAction, passed int, ids, destinations []string) *eventv1.Change {
	c := &eventv1.Change{Id: id, Action: action, MessageIds: ids, Destinations: destinations}
	b.list = append(b.list, changes.Entry{Change: c, Order: uint64(len(b.list) + 1)})
	b.passed[id] = passed
	return c
}

func (b *book) List() []changes.Entry { return slices.Clone(b.list) }

func (b *book) Progress(id string, partition int) *eventv1.Change {
	return &eventv1.Change{Id: id, Passed: partition < b.passed[id]}
}

func (b *book) Remove(_ context.Context, id string, _ int) error {
	b.removed = append(b.removed, id)
	return nil
}

func TestQ13_ChangesLiveAsLongAsMailNeedsThem(t *testing.T) {
	a, both, all := []string{"a"}, []string{"a", "b"}, []string{changes.Everything}
	for name, c := range map[string]struct {
		given func(*book)
		want  []string // removed, in order
	}{
		"a retry that one partition has not passed": {func(b *book) { b.add("1", retryNow, 1, a, nil) }, nil},
		"a retry that all have passed":              {func(b *book) { b.add("1", retryNow, 2, a, nil) }, []string{"1"}},
		"a cancel that all have passed":             {func(b *book) { b.add("1", cancelNow, 2, a, nil) }, []string{"1"}},
		"a suspension":                              {func(b *book) { b.add("1", suspend, 2, nil, a) }, nil},
		"a suspension taken back": {func(b *book) {
			b.add("1", suspend, 0, nil, a)
			b.add("2", resume, 2, nil, a)
		}, []string{"1", "2"}},
		"one taken back while PARK is gone through": {func(b *book) {
			b.add("1", suspend, 0, nil, a)
			b.add("2", resume, 1, nil, a)
		}, nil},
		"suspended anew": {func(b *book) {
			b.add("1", suspend, 0, nil, a)
			b.add("2", resume, 2, nil, a)
			b.add("3", suspend, 0, nil, a)
		}, []string{"1", "2"}},
		"everything resumed": {func(b *book) {
			b.add("1", suspend, 0, nil, a)
			b.add("2", suspend, 0, nil, []string{"b"})
			b.add("3", resume, 2, nil, all)
		}, []string{"1", "2", "3"}},
		"a part resumed of what all are suspended by": {func(b *book) {
			b.add("1", suspend, 0, nil, all)
			b.add("2", resume, 2, nil, a)
		}, nil},
		"a hold released in two steps": {func(b *book) {
			b.add("1", hold, 0, both, nil)
			b.add("2", release, 2, a, nil)
			b.add("3", release, 2, []string{"b"}, nil)
		}, []string{"1", "2", "3"}},
		"a hold released in part": {func(b *book) {
			b.add("1", hold, 0, both, nil)
			b.add("2", release, 2, a, nil)
		}, nil},
		"a release of what was accepted before": {func(b *book) {
			b.add("1", hold, 0, nil, a)
			b.add("2", release, 2, nil, a).AcceptedBefore = timestamppb.New(time.Now())
		}, nil},
		"a hold by messages released by destination": {func(b *book) {
			b.add("1", hold, 0, a, nil)
			b.add("2", release, 2, nil, []string{"x.example"})
		}, nil},
		"an end without a beginning": {func(b *book) { b.add("1", resume, 2, nil, a) }, []string{"1"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &book{passed: map[string]int{}}
			c.given(b)
			if err := operators.Tidy(t.Context(), b, b, 2); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(b.removed, c.want) {
				t.Errorf("removed %v, want %v", b.removed, c.want)
			}
		})
	}
}

// mirror is one change that matches everything.
type mirror struct{ *eventv1.Change }

func (mirror) Standing(changes.Mail) changes.Standing { return changes.Standing{} }

func (m mirror) Matching(_ changes.Mail, wants func(*eventv1.Change) bool) []*eventv1.Change {
	if !wants(m.Change) {
		return nil
	}
	return []*eventv1.Change{m.Change}
}

func (m mirror) Progress(string, int) *eventv1.Change { return m.Change }

func TestOnlyWhatAScanHasPassedIsCopied(t *testing.T) {
	c := &eventv1.Change{Id: "1", Action: retryNow, Progress: []*eventv1.ScanProgress{
		{Stream: "RETRY_5", First: 3, Sequence: 5}, {Stream: "RETRY_5", First: 8, Sequence: 9}, {Stream: "RETRY_10", First: 1, Sequence: 0},
	}}
	b := operators.NewBook(mirror{c}, 0)
	copied := func(stream string, sequence uint64) bool {
		return b.Copied(&eventv1.QueuedMail{}, ledger.Place{Stream: stream, Sequence: sequence})
	}
	for sequence, want := range map[uint64]bool{2: false, 3: true, 5: true, 6: false, 7: false, 8: true, 9: true, 10: false} {
		if copied("RETRY_5", sequence) != want {
			t.Errorf("RETRY_5/%d: %v", sequence, !want)
		}
	}
	if copied("RETRY_10", 1) || copied("RETRY_20", 4) {
		t.Error("a stream that was not gone through counts as passed")
	}
	if b.Copied(&eventv1.QueuedMail{MovedFor: "carry"}, ledger.Place{Stream: "RETRY_5", Sequence: 4}) {
		t.Error("what was carried forward counts as copied")
	}
	// The owner's own progress comes before the mirror's.
	b.Note(&eventv1.Change{Id: "1", Progress: []*eventv1.ScanProgress{{Stream: "RETRY_20", First: 1, Sequence: 9}}})
	if !copied("RETRY_20", 4) || copied("RETRY_5", 4) {
		t.Error("the mirror's progress counts though the owner has its own")
	}
	b.Keep(func(string) bool { return false })
	if !copied("RETRY_5", 4) {
		t.Error("progress of a change that is gone was kept")
	}
}
