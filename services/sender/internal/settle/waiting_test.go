// SPDX-License-Identifier: Apache-2.0

package settle

import (
	"testing"
	"time"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/ledger"
)

var down = (&smtpreply.Error{Stage: smtpreply.StageConnect, Reason: smtpreply.ReasonConnect, Detail: "connection refused"}).Proto()

var greylisted = (&smtpreply.Error{Stage: smtpreply.StageRcpt, Code: 450, Text: []string{"later"}}).Proto()

func TestQ15_SpilledMailTakesTheSitesErrorAlong(t *testing.T) {
	m := mail("a", "b")
	m.Envelope.Recipients[1].LastFailure = greylisted
	next := Spilled(m, place, down, due.Wait{Minutes: 5, Pause: 5 * time.Minute})
	if next.GetMovedFor() != ForSpill || next.GetAttempt() != m.GetAttempt() || next.GetHop() != m.GetHop()+1 || next.GetPause() != nil {
		t.Errorf("%v", next)
	}
	first, second := next.Envelope.Recipients[0].GetLastFailure(), next.Envelope.Recipients[1].GetLastFailure()
	if first.GetReason() != "site_down" || first.GetStage() != eventv1.Stage_STAGE_CONNECT || first.GetStatus().GetDetail() != 1 {
		t.Errorf("a is told %v", first)
	}
	if second.GetReply().GetCode() != 450 {
		t.Errorf("b's own last reply is lost: %v", second)
	}
	if m.Envelope.Recipients[0].GetLastFailure() != nil || down.GetReason() != "connect" {
		t.Error("the record itself was changed")
	}
	if next := Spilled(m, place, nil, due.Wait{Minutes: 1, Pause: time.Minute}); next.Envelope.Recipients[0].GetLastFailure() != nil {
		t.Errorf("told of a site that is not down: %v", next)
	}
}

func TestQ04_ADelayWithoutAnAttemptIsToldOnce(t *testing.T) {
	m := mail("a", "b")
	d := Delay{
		Pause: 10 * time.Minute, Down: down, ExpiresAt: now.Add(time.Hour), Now: now,
		Notice: func(r *eventv1.Recipient) bool { return r.GetAddress() == "a" },
	}
	o := Waiting(m, place, d)
	if o.GetId() != "01ABC.2.2-delayed" || o.GetAttempt() != nil || Kind(o) != bus.Notice || !ledger.Remains(o) {
		t.Errorf("%v", o)
	}
	if r := o.Results[0]; !r.GetDelayNoticeDue() || !r.GetRecipient().GetDelayNoticed() || r.GetFailure().GetReason() != "site_down" || r.GetStatus().GetClass() != 4 {
		t.Errorf("a: %v", r)
	}
	if r := o.Results[1]; r.GetDelayNoticeDue() || r.GetRecipient().GetDelayNoticed() {
		t.Errorf("b: %v", r)
	}
	next := Retry(m, place, o, due.Wait{Minutes: 10, Pause: 10 * time.Minute})
	if next.GetAttempt() != m.GetAttempt() || !next.Envelope.Recipients[0].GetDelayNoticed() || len(next.Envelope.Recipients) != 2 {
		t.Errorf("carried on as %v", next)
	}
	// Of a lane that is only slow there is always something to say.
	d.Down = nil
	if f := Waiting(m, place, d).Results[0].GetFailure(); f.GetReason() != "connection_limit" || f.GetStatus().GetClass() != 4 {
		t.Errorf("%v", f)
	}
}
