// SPDX-License-Identifier: Apache-2.0

package bodysweep

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/bodystore"
)

// view is a View that a test fills.
type view struct {
	finished map[string]string
	known    []string
	err      error
	before   time.Time
}

func (v *view) FinishedBodies(_ context.Context, before time.Time, _ int) (map[string]string, error) {
	v.before = before
	return v.finished, v.err
}

func (v *view) ForgetBodies(_ context.Context, ids []string) error {
	for _, id := range ids {
		delete(v.finished, id)
	}
	return nil
}

func (v *view) Knows(_ context.Context, id string) (bool, error) {
	return slices.Contains(v.known, id), v.err
}

// store is a real store with some contents, and the references by id.
func store(t *testing.T, ids ...string) (bodystore.Store, map[string]string) {
	t.Helper()
	s, err := bodystore.NewFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	refs := map[string]string{}
	for _, id := range ids {
		ref, _, err := s.Put(t.Context(), id, strings.NewReader("content"))
		if err != nil {
			t.Fatal(err)
		}
		refs[id] = ref
	}
	return s, refs
}

func ids(t *testing.T, s bodystore.Store) (list []string) {
	t.Helper()
	for e, err := range s.List(t.Context(), time.Now().Add(time.Hour)) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e.ID)
	}
	slices.Sort(list)
	return list
}

func TestFinishedContentsAreDeleted(t *testing.T) {
	s, refs := store(t, "done1", "done2", "waiting")
	now := time.Now()
	v := &view{finished: map[string]string{"done1": refs["done1"], "done2": refs["done2"], "foreign": "nats:x/1/1"}}
	n, err := New(v, s, slog.New(slog.DiscardHandler), func() time.Time { return now }).Finished(t.Context())
	if err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	if left := ids(t, s); !slices.Equal(left, []string{"waiting"}) {
		t.Errorf("left %v", left)
	}
	if len(v.finished) != 0 || !v.before.Equal(now.Add(-grace)) {
		t.Errorf("not forgotten: %v; asked before %v", v.finished, v.before)
	}
}

func TestOrphansAreDeletedAfterADay(t *testing.T) {
	s, _ := store(t, "known", "orphan")
	v := &view{known: []string{"known"}}
	now := time.Now()
	sweeper := New(v, s, slog.New(slog.DiscardHandler), func() time.Time { return now })
	if n, err := sweeper.Orphans(t.Context()); err != nil || n != 0 {
		t.Errorf("today: %d, %v", n, err)
	}
	now = now.Add(25 * time.Hour)
	if n, err := sweeper.Orphans(t.Context()); err != nil || n != 1 {
		t.Errorf("tomorrow: %d, %v", n, err)
	}
	if left := ids(t, s); !slices.Equal(left, []string{"known"}) {
		t.Errorf("left %v", left)
	}
}

func TestNothingIsDeletedWhileTheViewIsBehind(t *testing.T) {
	s, refs := store(t, "done", "orphan")
	behind := errors.New("behind")
	v := &view{finished: map[string]string{"done": refs["done"]}, err: behind}
	sweeper := New(v, s, slog.New(slog.DiscardHandler), func() time.Time { return time.Now().Add(48 * time.Hour) })
	if _, err := sweeper.Finished(t.Context()); !errors.Is(err, behind) {
		t.Errorf("Finished: %v", err)
	}
	if _, err := sweeper.Orphans(t.Context()); !errors.Is(err, behind) {
		t.Errorf("Orphans: %v", err)
	}
	if left := ids(t, s); len(left) != 2 {
		t.Errorf("left %v", left)
	}
}
