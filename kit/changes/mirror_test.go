// SPDX-License-Identifier: Apache-2.0

package changes_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/changes"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/testkit/bustest"
)

const (
	hold      = eventv1.ChangeAction_CHANGE_ACTION_HOLD
	release   = eventv1.ChangeAction_CHANGE_ACTION_RELEASE
	suspend   = eventv1.ChangeAction_CHANGE_ACTION_SUSPEND
	resume    = eventv1.ChangeAction_CHANGE_ACTION_RESUME
	retryNow  = eventv1.ChangeAction_CHANGE_ACTION_RETRY_NOW
	cancelNow = eventv1.ChangeAction_CHANGE_ACTION_CANCEL
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a store, and a mirror that runs.
type world struct {
	t      *testing.T
	ctx    context.Context
	srv    *bustest.Server
	store  *bus.Changes
	mirror *changes.Mirror
	n      int
}

func start(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	srv := bustest.StartWith(t, bustest.Options{Configure: func(o *server.Options) { o.MaxPayload = bus.MaxPayload }})
	w := &world{t: t, ctx: ctx, srv: srv}
	js := srv.JetStream()
	w.must(bus.Ensure(ctx, js, bus.Layout{Partitions: 1}))
	var err error
	w.store, err = bus.OpenChanges(ctx, js)
	w.must(err)
	w.mirror = changes.NewMirror(w.store)
	w.run(w.mirror)
	return w
}

func (w *world) run(m *changes.Mirror) {
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx, nil) }()
	w.t.Cleanup(func() { cancel(); <-done })
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// add stores a change and waits until the mirror has it.
func (w *world) add(action eventv1.ChangeAction, of *eventv1.Change) *eventv1.Change {
	w.t.Helper()
	w.n++
	of.Id, of.Action = string(rune('z'-w.n)), action // ids fall as changes come: only the order of storing counts
	_, err := w.store.Add(w.ctx, of)
	w.must(err)
	w.must(w.mirror.CatchUp(w.ctx))
	return of
}

func byMessage(ids ...string) *eventv1.Change       { return &eventv1.Change{MessageIds: ids} }
func byDestination(names ...string) *eventv1.Change { return &eventv1.Change{Destinations: names} }

// said words what holds for a message to a domain.
func (w *world) said(id, domain string, acceptedAt time.Time) string {
	s := w.mirror.Standing(changes.Mail{MessageID: id, Destination: domain, AcceptedAt: acceptedAt})
	text := ""
	if s.Cancelled != nil {
		text += "cancelled "
	}
	if s.Held != nil {
		text += "held "
	}
	if s.Suspended != nil {
		text += "suspended "
	}
	return text
}

func (w *world) want(id, domain, said string) {
	w.t.Helper()
	if got := w.said(id, domain, noon); got != said {
		w.t.Errorf("%s to %s is %q, want %q", id, domain, got, said)
	}
}

func TestQ13_TheLaterChangeHolds(t *testing.T) {
	w := start(t)
	w.want("m1", "a.example", "")
	w.add(suspend, byDestination("a.example"))
	w.want("m1", "a.example", "suspended ")
	w.want("m1", "b.example", "")
	w.add(hold, byMessage("m1", "m2"))
	w.want("m1", "a.example", "held suspended ")
	w.add(resume, byDestination("a.example"))
	w.want("m1", "a.example", "held ")
	w.add(release, byMessage("m1"))
	w.want("m1", "a.example", "")
	w.want("m2", "a.example", "held ")
	w.add(release, byDestination(changes.Everything))
	w.want("m2", "a.example", "")
	w.add(suspend, byDestination(changes.Everything))
	w.want("m3", "c.example", "suspended ")
	w.add(resume, byDestination("c.example"))
	w.want("m3", "c.example", "")
	w.want("m3", "d.example", "suspended ")
	w.add(cancelNow, byMessage("m3"))
	w.add(retryNow, byMessage("m3"))
	w.want("m3", "c.example", "cancelled ")
}

func TestQ13_WhatComesLaterIsNotMeant(t *testing.T) {
	w := start(t)
	of := byDestination("a.example")
	of.AcceptedBefore = timestamppb.New(noon)
	w.add(hold, of)
	if got := w.said("m1", "a.example", noon.Add(-time.Second)); got != "held " {
		t.Errorf("what was there is %q", got)
	}
	if got := w.said("m2", "a.example", noon); got != "" {
		t.Errorf("what comes later is %q", got)
	}
}

func TestAMirrorFollowsOverALostConnection(t *testing.T) {
	w := start(t)
	first := w.add(suspend, byDestination("a.example"))
	_, err := w.store.SaveProgress(w.ctx, 0, &eventv1.Change{Id: first.GetId(), Passed: true}, 0)
	w.must(err)
	w.must(w.mirror.CatchUp(w.ctx))
	if p := w.mirror.Progress(first.GetId(), 0); !p.GetPassed() || w.mirror.Progress(first.GetId(), 1) != nil {
		t.Errorf("progress %v", p)
	}
	second := w.add(cancelNow, byMessage("m1"))
	if list := w.mirror.List(); len(list) != 2 || list[0].GetId() != first.GetId() || list[1].GetId() != second.GetId() {
		t.Errorf("in their order: %v", list)
	}
	changed := w.mirror.Changed()
	w.must(w.store.Remove(w.ctx, first.GetId(), 1))
	select {
	case <-changed:
	case <-w.ctx.Done():
		t.Fatal("nobody is told")
	}
	w.must(w.mirror.CatchUp(w.ctx))
	w.want("m1", "a.example", "cancelled ")
	if w.mirror.Progress(first.GetId(), 0) != nil {
		t.Error("the progress of a removed change is there")
	}
	// One that begins later has the same.
	late := changes.NewMirror(w.store)
	w.run(late)
	w.must(late.CatchUp(w.ctx))
	if list := late.List(); len(list) != 1 || list[0].GetId() != second.GetId() {
		t.Errorf("a later mirror has %v", list)
	}
}

func TestMatchingIsByPredicateAlone(t *testing.T) {
	w := start(t)
	one := w.add(retryNow, byMessage("m1"))
	all := w.add(retryNow, byDestination(changes.Everything))
	matching := func(id string) int {
		return len(w.mirror.Matching(changes.Mail{MessageID: id, Destination: "a.example"}, func(c *eventv1.Change) bool {
			return c.GetId() == one.GetId() || c.GetId() == all.GetId()
		}))
	}
	if matching("m1") != 2 || matching("m2") != 1 {
		t.Errorf("m1 matches %d, m2 %d", matching("m1"), matching("m2"))
	}
}
