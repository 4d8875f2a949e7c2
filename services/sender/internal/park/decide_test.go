// SPDX-License-Identifier: Apache-2.0

package park_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/changes"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/park"
	"github.com/postrider/postrider/services/sender/internal/retryschedule"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

var accepted = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func record() *eventv1.QueuedMail {
	return &eventv1.QueuedMail{
		MessageId: "m1", AcceptedAt: timestamppb.New(accepted),
		Envelope: &eventv1.Envelope{Sender: "a@example.org", Recipients: []*eventv1.Recipient{{Address: "b@example.test"}}},
	}
}

func TestQ13_WhatBecomesOfARecord(t *testing.T) {
	schedule := retryschedule.Default()
	by := &eventv1.Change{Actor: "operator"}
	for name, c := range map[string]struct {
		standing changes.Standing
		change   func(*eventv1.QueuedMail)
		age      time.Duration
		kind     park.Kind
		why      string
		reason   smtpreply.Reason
	}{
		"nothing holds it":                  {kind: park.Go},
		"nothing holds it, however old":     {age: 100 * 24 * time.Hour, kind: park.Go},
		"cancelled":                         {standing: changes.Standing{Cancelled: by, Held: by}, kind: park.Cancel},
		"held":                              {standing: changes.Standing{Held: by, Suspended: by}, kind: park.Stay, why: settle.ForPark, reason: smtpreply.ReasonHeld},
		"suspended":                         {standing: changes.Standing{Suspended: by}, kind: park.Stay, why: settle.ForPark, reason: smtpreply.ReasonSuspended},
		"set aside by the sender":           {change: func(m *eventv1.QueuedMail) { m.MovedFor = settle.ForHold }, kind: park.Stay, why: settle.ForHold, reason: smtpreply.ReasonHeld},
		"suspended for five hours":          {standing: changes.Standing{Suspended: by}, age: 5 * time.Hour, kind: park.Tell, why: settle.ForPark, reason: smtpreply.ReasonSuspended},
		"told of it":                        {standing: changes.Standing{Suspended: by}, age: 5 * time.Hour, change: func(m *eventv1.QueuedMail) { m.Envelope.Recipients[0].DelayNoticed = true }, kind: park.Stay, why: settle.ForPark, reason: smtpreply.ReasonSuspended},
		"nobody is there to be told":        {standing: changes.Standing{Suspended: by}, age: 5 * time.Hour, change: func(m *eventv1.QueuedMail) { m.Envelope.Sender = "" }, kind: park.Stay, why: settle.ForPark, reason: smtpreply.ReasonSuspended},
		"suspended until its time was over": {standing: changes.Standing{Suspended: by}, age: 5 * 24 * time.Hour, kind: park.Expire, why: settle.ForPark, reason: smtpreply.ReasonSuspended},
		"a notification expires sooner":     {standing: changes.Standing{Suspended: by}, age: 2 * 24 * time.Hour, change: func(m *eventv1.QueuedMail) { m.Envelope.Sender = "" }, kind: park.Expire, why: settle.ForPark, reason: smtpreply.ReasonSuspended},
		"cancelled after its time was over": {standing: changes.Standing{Cancelled: by}, age: 10 * 24 * time.Hour, kind: park.Cancel},
	} {
		t.Run(name, func(t *testing.T) {
			m := record()
			if c.change != nil {
				c.change(m)
			}
			d := park.Decide(m, c.standing, &schedule, accepted.Add(c.age))
			if d.Kind != c.kind || d.Aside.Reason != c.reason || (c.why != "" && d.Why != c.why) || (d.By != nil) != (c.kind == park.Cancel) {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestQ04_WhenARecordLeavesParkByItself(t *testing.T) {
	schedule := retryschedule.Default()
	m := record()
	if at := park.Leaves(m, &schedule); !at.Equal(accepted.Add(schedule.NoticeAfter())) {
		t.Errorf("its sender is told at %v", at)
	}
	due := park.Due(m, &schedule, accepted.Add(5*time.Hour))
	if !due(m.GetEnvelope().GetRecipients()[0]) {
		t.Error("nobody is told")
	}
	m.Envelope.Recipients[0].DelayNoticed = true
	if at := park.Leaves(m, &schedule); !at.Equal(accepted.Add(5 * 24 * time.Hour)) {
		t.Errorf("it expires at %v", at)
	}
}
