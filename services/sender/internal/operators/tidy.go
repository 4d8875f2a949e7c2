// SPDX-License-Identifier: Apache-2.0

package operators

import (
	"context"
	"fmt"
	"slices"

	"github.com/postrider/postrider/kit/changes"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Entries is the store of changes as far as Tidy needs it (bus.Changes).
type Entries interface {
	Remove(ctx context.Context, id string, partitions int) error
}

// Changes is the mirror as far as Tidy needs it (changes.Mirror).
type Changes interface {
	List() []changes.Entry
	Progress(id string, partition int) *eventv1.Change
}

// Tidy removes changes that no mail needs any more: a cancel and a retry once every partition has passed it, a hold or
// suspension that later changes take back wholly, and what takes back once nothing is left that it takes back. The older
// goes first: an end without its beginning does no harm. The owner of partition 0 calls it now and then.
func Tidy(ctx context.Context, mirror Changes, store Entries, partitions int) error {
	list := mirror.List()
	passed := func(e changes.Entry) bool {
		for p := range partitions {
			if !mirror.Progress(e.GetId(), p).GetPassed() {
				return false
			}
		}
		return true
	}
	var ends []changes.Entry // what takes back, and has passed
	for _, e := range list {
		if begins(e.GetAction()) != eventv1.ChangeAction_CHANGE_ACTION_UNSPECIFIED && passed(e) {
			ends = append(ends, e)
		}
	}
	left := list[:0:0]
	for _, e := range list {
		gone := false
		switch e.GetAction() {
		case eventv1.ChangeAction_CHANGE_ACTION_CANCEL, eventv1.ChangeAction_CHANGE_ACTION_RETRY_NOW:
			gone = passed(e)
		case eventv1.ChangeAction_CHANGE_ACTION_HOLD, eventv1.ChangeAction_CHANGE_ACTION_SUSPEND:
			gone = takenBack(e, ends)
		}
		if !gone {
			left = append(left, e)
			continue
		}
		if err := store.Remove(ctx, e.GetId(), partitions); err != nil {
			return fmt.Errorf("remove change %s: %w", e.GetId(), err)
		}
	}
	for _, e := range ends {
		if slices.ContainsFunc(left, func(other changes.Entry) bool { return touches(e, other) }) {
			continue
		}
		if err := store.Remove(ctx, e.GetId(), partitions); err != nil {
			return fmt.Errorf("remove change %s: %w", e.GetId(), err)
		}
	}
	return nil
}

// begins returns the action that an action takes back.
func begins(a eventv1.ChangeAction) eventv1.ChangeAction {
	switch a {
	case eventv1.ChangeAction_CHANGE_ACTION_RELEASE:
		return eventv1.ChangeAction_CHANGE_ACTION_HOLD
	case eventv1.ChangeAction_CHANGE_ACTION_RESUME:
		return eventv1.ChangeAction_CHANGE_ACTION_SUSPEND
	}
	return eventv1.ChangeAction_CHANGE_ACTION_UNSPECIFIED
}

// takenBack reports whether later changes take back everything a hold or suspension means.
func takenBack(e changes.Entry, ends []changes.Entry) bool {
	later := slices.DeleteFunc(slices.Clone(ends), func(end changes.Entry) bool {
		return begins(end.GetAction()) != e.GetAction() || end.Order < e.Order || !olderToo(end, e)
	})
	covered := func(has func(changes.Entry) []string, want string) bool {
		return slices.ContainsFunc(later, func(end changes.Entry) bool {
			return slices.Contains(end.GetDestinations(), changes.Everything) || slices.Contains(has(end), want)
		})
	}
	for _, id := range e.GetMessageIds() {
		if !covered(func(end changes.Entry) []string { return end.GetMessageIds() }, id) {
			return false
		}
	}
	for _, d := range e.GetDestinations() {
		if !covered(func(end changes.Entry) []string { return end.GetDestinations() }, d) {
			return false
		}
	}
	return true
}

// olderToo reports whether whatever is old enough for e is so for its end.
func olderToo(end, e changes.Entry) bool {
	switch {
	case end.GetAcceptedBefore() == nil:
		return true
	case e.GetAcceptedBefore() == nil:
		return false
	}
	return !end.GetAcceptedBefore().AsTime().Before(e.GetAcceptedBefore().AsTime())
}

// touches reports whether an end may take back some of what an earlier change means.
func touches(end, e changes.Entry) bool {
	if begins(end.GetAction()) != e.GetAction() || end.Order < e.Order {
		return false
	}
	if (len(end.GetMessageIds()) > 0) != (len(e.GetMessageIds()) > 0) {
		return true // messages and destinations: it cannot be told from here
	}
	meet := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(x string) bool { return x == changes.Everything || slices.Contains(b, x) }) ||
			slices.Contains(b, changes.Everything)
	}
	return meet(end.GetMessageIds(), e.GetMessageIds()) || meet(end.GetDestinations(), e.GetDestinations())
}
