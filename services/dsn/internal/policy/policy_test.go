// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"testing"

	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

const (
	nNever   = eventv1.Notify_NOTIFY_NEVER
	nSuccess = eventv1.Notify_NOTIFY_SUCCESS
	nFailure = eventv1.Notify_NOTIFY_FAILURE
	nDelay   = eventv1.Notify_NOTIFY_DELAY

	deferred  = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
	delivered = eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
	relayed   = eventv1.RecipientState_RECIPIENT_STATE_RELAYED
	bounced   = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
	expired   = eventv1.RecipientState_RECIPIENT_STATE_EXPIRED
	cancelled = eventv1.RecipientState_RECIPIENT_STATE_CANCELLED
)

// outcome is an outcome of mail from a person with these results.
func outcome(results ...*eventv1.RecipientResult) *eventv1.Outcome {
	return &eventv1.Outcome{Id: "01J0.1.1", EnvelopeSender: "anna@example.org", Results: results}
}

func result(state eventv1.RecipientState, notify ...eventv1.Notify) *eventv1.RecipientResult {
	return &eventv1.RecipientResult{State: state, Recipient: &eventv1.Recipient{Address: "bob@example.net", Notify: notify}}
}

// only returns the one decision of an outcome with one recipient.
func only(t *testing.T, o *eventv1.Outcome) Decision {
	t.Helper()
	decisions := Decide(o)
	if len(decisions) != 1 || !slices.Equal(decisions[0].Recipients, []int{0}) {
		t.Fatalf("Decide = %+v, want one decision for recipient 0", decisions)
	}
	return decisions[0]
}

func TestD03_NullSenderNeverGetsANotification(t *testing.T) {
	for _, state := range []eventv1.RecipientState{bounced, expired, deferred, relayed, delivered, cancelled} {
		for _, notify := range [][]eventv1.Notify{nil, {nFailure, nDelay, nSuccess}, {nNever}} {
			r := result(state, notify...)
			r.DelayNoticeDue, r.CancelNoticeDue = true, true
			o := outcome(r)
			o.EnvelopeSender = ""
			if d := only(t, o); d.Reason != ReasonNullSender {
				t.Errorf("%v NOTIFY %v: reason %q, want null_sender", state, notify, d.Reason)
			}
		}
	}
}

func TestD15_OwnNotificationIsNeverReported(t *testing.T) {
	for _, sender := range []string{"", "anna@example.org"} {
		o := outcome(result(bounced, nFailure))
		o.EnvelopeSender, o.ReportsOn = sender, "01HZ"
		if d := only(t, o); d.Kind != Failed || d.Reason != ReasonOwnNotification {
			t.Errorf("sender %q: %s %q, want failed own_notification", sender, d.Kind, d.Reason)
		}
	}
}

// TestD04_NotifyByOutcome holds every set of NOTIFY values against every result.
func TestD04_NotifyByOutcome(t *testing.T) {
	sets := []struct {
		name                     string
		notify                   []eventv1.Notify
		failed, delayed, relayed Reason
	}{
		{"absent", nil, ReasonDue, ReasonDue, ReasonNotRequested},
		{"unknown", []eventv1.Notify{0, 99}, ReasonDue, ReasonDue, ReasonNotRequested},
		{"never", []eventv1.Notify{nNever}, ReasonNotifyNever, ReasonNotifyNever, ReasonNotRequested},
		{"failure", []eventv1.Notify{nFailure}, ReasonDue, ReasonNotRequested, ReasonNotRequested},
		{"delay", []eventv1.Notify{nDelay}, ReasonNotRequested, ReasonDue, ReasonNotRequested},
		{"success", []eventv1.Notify{nSuccess}, ReasonNotRequested, ReasonNotRequested, ReasonDue},
		{"failure,delay", []eventv1.Notify{nFailure, nDelay}, ReasonDue, ReasonDue, ReasonNotRequested},
		{"success,failure", []eventv1.Notify{nSuccess, nFailure}, ReasonDue, ReasonNotRequested, ReasonDue},
		{"success,delay", []eventv1.Notify{nSuccess, nDelay}, ReasonNotRequested, ReasonDue, ReasonDue},
		{"all", []eventv1.Notify{nSuccess, nFailure, nDelay}, ReasonDue, ReasonDue, ReasonDue},
		{"never and success", []eventv1.Notify{nNever, nSuccess}, ReasonNotifyNever, ReasonNotifyNever, ReasonNotifyNever},
	}
	for _, set := range sets {
		t.Run(set.name, func(t *testing.T) {
			check := func(r *eventv1.RecipientResult, kind Kind, want Reason) {
				t.Helper()
				d := only(t, outcome(r))
				if want != ReasonNotRequested && d.Kind != kind {
					t.Errorf("%v: kind %q, want %q", r.GetState(), d.Kind, kind)
				}
				if d.Reason != want || d.Due() != (want == ReasonDue) {
					t.Errorf("%v: reason %q, want %q", r.GetState(), d.Reason, want)
				}
			}
			check(result(bounced, set.notify...), Failed, set.failed)
			check(result(expired, set.notify...), Failed, set.failed)
			withNotice := result(cancelled, set.notify...)
			withNotice.CancelNoticeDue = true
			check(withNotice, Failed, set.failed)
			late := result(deferred, set.notify...)
			late.DelayNoticeDue = true
			check(late, Delayed, set.delayed)
			check(result(relayed, set.notify...), Relayed, set.relayed)
			check(result(delivered, set.notify...), Relayed, set.relayed)
		})
	}
}

func TestD06_PassedOnSuccessIsReportedByTheNextHost(t *testing.T) {
	r := result(delivered, nSuccess, nFailure)
	r.DsnPassedOn = true
	if d := only(t, outcome(r)); d.Kind != Delivered || d.Reason != ReasonPassedOn {
		t.Errorf("got %s %q, want delivered passed_on", d.Kind, d.Reason)
	}
	r = result(delivered, nFailure)
	r.DsnPassedOn = true
	if d := only(t, outcome(r)); d.Reason != ReasonNotRequested {
		t.Errorf("success not asked for: reason %q, want not_requested", d.Reason)
	}
}

func TestD06_PassedOnDoesNotHideAFailure(t *testing.T) {
	r := result(bounced, nSuccess, nFailure)
	r.DsnPassedOn = true
	if d := only(t, outcome(r)); d.Kind != Failed || !d.Due() {
		t.Errorf("got %s %q, want failed due", d.Kind, d.Reason)
	}
}

func TestD07_RelayedWhenTheNextHostOffersNoDSN(t *testing.T) {
	for _, state := range []eventv1.RecipientState{relayed, delivered} {
		if d := only(t, outcome(result(state, nSuccess))); d.Kind != Relayed || !d.Due() {
			t.Errorf("%v: %s %q, want relayed due", state, d.Kind, d.Reason)
		}
	}
}

func TestQ04_DelayOnlyWhenTheSenderSaysItIsDue(t *testing.T) {
	early := result(deferred)
	early.Recipient.DelayNoticed = true
	if d := only(t, outcome(early)); d.Kind != Delayed || d.Reason != ReasonDelayNotDue {
		t.Errorf("got %s %q, want delayed delay_not_due", d.Kind, d.Reason)
	}
}

func TestQ13_QuietCancelMakesNoNotification(t *testing.T) {
	if d := only(t, outcome(result(cancelled))); d.Kind != Failed || d.Reason != ReasonCancelledQuietly {
		t.Errorf("got %s %q, want failed cancelled_quietly", d.Kind, d.Reason)
	}
}

func TestD05_OneDecisionPerKindWithAllItsRecipients(t *testing.T) {
	late := result(deferred)
	late.DelayNoticeDue = true
	decisions := Decide(outcome(
		result(delivered),         // 0
		late,                      // 1
		result(bounced),           // 2
		result(bounced, nNever),   // 3
		result(relayed, nSuccess), // 4
		result(expired),           // 5
		result(eventv1.RecipientState_RECIPIENT_STATE_HELD), // 6
		result(eventv1.RecipientState(77)),                  // 7
	))
	want := []Decision{
		{Failed, ReasonDue, []int{2, 5}},
		{Failed, ReasonNotifyNever, []int{3}},
		{Delayed, ReasonDue, []int{1}},
		{Relayed, ReasonDue, []int{4}},
		{Delivered, ReasonNotRequested, []int{0}},
		{None, ReasonHeld, []int{6}},
		{None, ReasonNotSettled, []int{7}},
	}
	equal := func(a, b Decision) bool {
		return a.Kind == b.Kind && a.Reason == b.Reason && slices.Equal(a.Recipients, b.Recipients)
	}
	if !slices.EqualFunc(decisions, want, equal) {
		t.Errorf("Decide =\n%+v, want\n%+v", decisions, want)
	}
}

func TestD05_WhatIsDueComesFirstWhateverTheOrder(t *testing.T) {
	decisions := Decide(outcome(result(bounced, nNever), result(bounced)))
	if len(decisions) != 2 || !decisions[0].Due() || decisions[1].Reason != ReasonNotifyNever {
		t.Errorf("Decide = %+v, want the due decision first", decisions)
	}
}

func TestD05_KeyNamesOutcomeAndKind(t *testing.T) {
	if got := (Decision{Kind: Failed}).Key("01J0.1.3"); got != "dsn/01J0.1.3/failed" {
		t.Errorf("Key = %q", got)
	}
}

func TestDecideOfNothing(t *testing.T) {
	if d := Decide(nil); len(d) != 0 {
		t.Errorf("Decide(nil) = %+v", d)
	}
	if d := Decide(&eventv1.Outcome{Results: []*eventv1.RecipientResult{nil}}); len(d) != 1 || d[0].Reason != ReasonNotSettled {
		t.Errorf("Decide of a nil result = %+v", d)
	}
}

func TestKindProto(t *testing.T) {
	for kind, want := range map[Kind]dsnv1.Kind{
		None: dsnv1.Kind_KIND_UNSPECIFIED, Failed: dsnv1.Kind_KIND_FAILED, Delayed: dsnv1.Kind_KIND_DELAYED,
		Relayed: dsnv1.Kind_KIND_RELAYED, Delivered: dsnv1.Kind_KIND_DELIVERED,
	} {
		if got := kind.Proto(); got != want {
			t.Errorf("%q.Proto() = %v, want %v", kind, got, want)
		}
	}
}
