// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func openChanges(t *testing.T) *Changes {
	t.Helper()
	_, js := startBus(t)
	c, err := OpenChanges(testContext(t), js)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAChangeIsStoredOnce(t *testing.T) {
	t.Parallel()
	c, ctx := openChanges(t), testContext(t)
	one := &eventv1.Change{Id: "c1", Destinations: []string{"a.example"}}
	first, err := c.Add(ctx, one)
	if err != nil || first == 0 {
		t.Fatalf("%d, %v", first, err)
	}
	again, err := c.Add(ctx, one) // as after an answer that was lost
	if err != nil || again != first {
		t.Errorf("again: %d, %v, want %d", again, err, first)
	}
	if last, err := c.Last(ctx); err != nil || last != first {
		t.Errorf("last %d, %v", last, err)
	}
}

func TestProgressIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	c, ctx := openChanges(t), testContext(t)
	if p, revision, err := c.Progress(ctx, "c1", 0); p != nil || revision != 0 || err != nil {
		t.Fatalf("%v, %d, %v", p, revision, err)
	}
	stored := &eventv1.Change{Id: "c1", Progress: []*eventv1.ScanProgress{{Stream: "RETRY_5", First: 3, Sequence: 7}}}
	revision, err := c.SaveProgress(ctx, 0, stored, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.SaveProgress(ctx, 0, stored, 0); !errors.Is(err, ErrProgressMoved) {
		t.Errorf("over what another has written: %v", err)
	}
	if _, err := c.SaveProgress(ctx, 1, stored, 0); err != nil {
		t.Errorf("of another partition: %v", err)
	}
	got, at, err := c.Progress(ctx, "c1", 0)
	if err != nil || at != revision || !proto.Equal(got, stored) {
		t.Errorf("%v at %d, %v", got, at, err)
	}
	if _, err := c.SaveProgress(ctx, 0, stored, revision); err != nil {
		t.Error(err)
	}
}

func TestARemovedChangeIsToldOfBeforeItsProgress(t *testing.T) {
	t.Parallel()
	c, ctx := openChanges(t), testContext(t)
	for _, id := range []string{"c1", "c2"} {
		if _, err := c.Add(ctx, &eventv1.Change{Id: id}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.SaveProgress(ctx, 0, &eventv1.Change{Id: id}, 0); err != nil {
			t.Fatal(err)
		}
	}
	watched, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var before, after []ChangeEvent
	whole := false
	err := c.Watch(watched, func(e ChangeEvent) {
		if whole {
			after = append(after, e)
		} else {
			before = append(before, e)
		}
		if len(after) == 2 {
			cancel()
		}
	}, func() {
		whole = true
		if err := c.Remove(ctx, "c1", 2); err != nil {
			t.Error(err)
		}
	})
	if err == nil || len(before) != 4 || len(after) != 2 {
		t.Fatalf("%v: %v, then %v", err, before, after)
	}
	if after[0].ID != "c1" || after[0].Change != nil || after[0].Partition != AnyPartition || after[1].Partition != 0 {
		t.Errorf("removed: %v", after)
	}
	if err := c.Remove(ctx, "c1", 2); err != nil {
		t.Errorf("removed twice: %v", err)
	}
	if _, revision, err := c.Progress(ctx, "c1", 0); err != nil || revision == 0 {
		t.Errorf("progress of a removed change: %d, %v", revision, err)
	}
}
