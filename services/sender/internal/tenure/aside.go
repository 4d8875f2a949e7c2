// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"time"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/park"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

// act does with a record what operators' changes say. t.moving counts it.
func (t *Tenure) act(r *Record, d park.Decision) {
	now := t.opts.Clock.Estimate()
	switch d.Kind {
	case park.Cancel:
		t.end(r, settle.Cancelled(r.Mail, r.at, d.By, now))
	case park.Expire:
		t.end(r, settle.ExpiredAside(r.Mail, r.at, d.Aside, now))
	case park.Tell:
		o := settle.DelayedAside(r.Mail, r.at, d.Aside, park.Due(r.Mail, &t.opts.Retry, now), now)
		told := settle.Only(r.Mail, o, eventv1.RecipientState_RECIPIENT_STATE_DEFERRED)
		t.announce(r, o)
		t.storeOutcome(r, o, func() { t.park(r, told, d.Why, func() { t.settled(r) }) })
	default:
		t.park(r, r.Mail, d.Why, func() { t.settled(r) })
	}
}

// end settles a record with an outcome that is final for all its recipients.
func (t *Tenure) end(r *Record, o *eventv1.Outcome) {
	t.announce(r, o)
	t.storeOutcome(r, o, func() { t.settled(r) })
}

func (t *Tenure) announce(r *Record, o *eventv1.Outcome) {
	if !t.right().Confirmed() {
		settle.Mark(o)
	}
	if t.opts.Events != nil {
		t.opts.Events.Settling(r.Mail, o, time.Time{})
	}
}

// unreadableDestination is where in PARK lies what names no destination.
const unreadableDestination = "unreadable"

// park appends a copy of a record to PARK and goes on with then when it is stored there.
func (t *Tenure) park(r *Record, mail *eventv1.QueuedMail, why string, then func()) {
	destination := mail.GetDestination()
	if mail.GetMessageId() == "" {
		destination = unreadableDestination
	}
	f, err := t.frame(r, settle.Copy(mail, r.at, why, due.Wait{}))
	if err != nil {
		t.fail(err)
		return
	}
	crashpoint.At("sender.park.before")
	enqueue := func(frames []bus.Frame, done func(bus.Position, error)) error {
		return t.parks.EnqueueTo(bus.ParkSubject(t.opts.Partition, destination), frames, done)
	}
	t.appendBy(enqueue, f, why, func(bus.Position) {
		crashpoint.At("sender.park.after")
		then()
	})
}

// parkUnreadable sets aside what cannot be decoded: its bytes as the content of an empty record.
func (t *Tenure) parkUnreadable(r *Record, then func()) {
	t.park(r, &eventv1.QueuedMail{}, settle.ForHold, then)
}
