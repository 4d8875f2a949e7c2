// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/join"
	"github.com/postrider/postrider/services/dsn/internal/policy"
	"github.com/postrider/postrider/services/dsn/internal/submit"
)

// numbered is a bounce of its own.
func numbered(n int, sender string, recipients ...string) Item {
	item := bounced(sender)
	item.Outcome.Id, item.Outcome.MessageId = fmt.Sprintf("01N%d.1.1", n), fmt.Sprintf("01N%d", n)
	item.StoredAt = time.Date(2026, time.November, 2, 10, 5, 0, 0, time.UTC)
	item.Partition, item.Sequence = 1, uint64(n)
	one := item.Outcome.GetResults()[0]
	item.Outcome.Results = nil
	for _, r := range recipients {
		result := proto.CloneOf(one)
		result.Recipient.Address = r
		item.Outcome.Results = append(item.Outcome.Results, result)
	}
	return item
}

func TestD17_WhatIsBeyondIsJoinedAndRecorded(t *testing.T) {
	f := newFixture(t)
	for n := range 5 {
		if err := f.settle(t.Context(), numbered(n, "anna@example.org", "loop@example.net")); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.submitter.got) != 2 || len(f.store.got) != 3 {
		t.Fatalf("%d sent, %d joined; want 2 and 3", len(f.submitter.got), len(f.store.got))
	}
	want := &eventv1.JoinedNotice{
		OutcomeId: "01N2.1.1", Kind: "failed", Limit: "recipient", To: "anna@example.org", MessageId: "01N2",
		Partition: 1, Sequence: 2,
		Recipients: []*eventv1.JoinedRecipient{{
			Address: "loop@example.net", Status: "5.0.0",
			Happened: "The message could not be handed over to the mail system of example.net.",
		}},
	}
	if !proto.Equal(f.store.got[0], want) {
		t.Errorf("joined\n%v, want\n%v", f.store.got[0], want)
	}
	if due := f.store.due[0]; !due.Equal(time.Date(2026, time.November, 2, 11, 0, 0, 0, time.UTC)) {
		t.Errorf("told at %v", due)
	}
	for name, counter := range map[string]struct {
		labels []attribute.Key
		want   string
		n      int64
	}{
		"postrider.dsn.notify_throttled": {[]attribute.Key{"kind", "limit"}, "failed recipient", 3},
		"postrider.dsn.breaker_opened":   {[]attribute.Key{"limit"}, "recipient", 1},
		"postrider.dsn.decisions":        {[]attribute.Key{"kind", "reason"}, "failed notify_throttled", 3},
	} {
		if got := f.counts(t, name, counter.labels...); got[counter.want] != counter.n {
			t.Errorf("%s: %v, want %s %d", name, got, counter.want, counter.n)
		}
	}
	log := f.log.String()
	if strings.Count(log, "too many notifications") != 1 || strings.Count(log, `"msg":"notify_throttled"`) != 3 {
		t.Errorf("log:\n%s", log)
	}
	if strings.Contains(log, "anna") || strings.Contains(log, "loop@") || strings.Contains(log, "without notification") {
		t.Errorf("log:\n%s", log)
	}
	spans := 0
	for _, s := range f.spans.Ended() {
		for _, a := range s.Attributes() {
			if a.Key == "mail.dsn.limit" && a.Value.AsString() == "recipient" {
				spans++
			}
		}
	}
	if spans != 3 {
		t.Errorf("%d spans tell the limit", spans)
	}
}

func TestD17_OneNotificationAndOneLineOfOneOutcome(t *testing.T) {
	f := newFixture(t)
	for n := range 2 {
		if err := f.settle(t.Context(), numbered(n, "anna@example.org", "loop@example.net")); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.settle(t.Context(), numbered(9, "anna@example.org", "bob@example.net", "loop@example.net")); err != nil {
		t.Fatal(err)
	}
	last := f.submitter.got[len(f.submitter.got)-1]
	if len(f.submitter.got) != 3 || last.Key != "dsn/01N9.1.1/failed" ||
		!strings.Contains(string(last.Content), "bob@example.net") || strings.Contains(string(last.Content), "loop@example.net") {
		t.Errorf("sent %d; the last:\n%s", len(f.submitter.got), last.Content)
	}
	if len(f.store.got) != 1 || f.store.got[0].GetRecipients()[0].GetIndex() != 1 {
		t.Errorf("joined %v", f.store.got)
	}
}

// TestD17_SenderAndDomain: no address, then no mailbox of the domain, gets more one by one.
func TestD17_SenderAndDomain(t *testing.T) {
	f := newFixture(t)
	for n := range 7 {
		if err := f.settle(t.Context(), numbered(n, "anna@example.org", fmt.Sprintf("r%d@example.net", n))); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.submitter.got) != 5 || f.store.got[0].GetLimit() != "sender" {
		t.Fatalf("%d sent, joined %v", len(f.submitter.got), f.store.got)
	}
	for n := range 3 {
		if err := f.settle(t.Context(), numbered(10+n, fmt.Sprintf("eve%d@example.org", n), "r@example.net")); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.submitter.got) != 6 || len(f.store.got) != 4 || f.store.got[3].GetLimit() != "domain" {
		t.Errorf("%d sent, joined %v", len(f.submitter.got), f.store.got)
	}
}

// TestD17_JoinedBeforeSent: what is joined is stored first; while it cannot be, nothing of the outcome is sent.
func TestD17_JoinedBeforeSent(t *testing.T) {
	f := newFixture(t)
	for n := range 2 {
		if err := f.settle(t.Context(), numbered(n, "anna@example.org", "loop@example.net")); err != nil {
			t.Fatal(err)
		}
	}
	f.store.err = context.Canceled
	if err := f.settle(t.Context(), numbered(9, "anna@example.org", "bob@example.net", "loop@example.net")); !errors.Is(err, context.Canceled) {
		t.Errorf("Handle = %v", err)
	}
	if len(f.submitter.got) != 2 {
		t.Errorf("%d sent", len(f.submitter.got))
	}
}

// TestD17_StoredBeforeACrashStaysJoined, whatever is counted now.
func TestD17_StoredBeforeACrashStaysJoined(t *testing.T) {
	f := newFixture(t)
	f.store.before = map[string]bool{fmt.Sprint("01N1.1.1", "failed", 0): true}
	if err := f.settle(t.Context(), numbered(1, "anna@example.org", "loop@example.net", "bob@example.net")); err != nil {
		t.Fatal(err)
	}
	if len(f.store.got) != 1 || f.store.got[0].GetRecipients()[0].GetAddress() != "loop@example.net" || len(f.submitter.got) != 1 {
		t.Errorf("joined %v, %d sent", f.store.got, len(f.submitter.got))
	}
}

func TestD17_RecalledIsCountedAndNotToldAgain(t *testing.T) {
	f := newFixture(t)
	for n := range 3 {
		f.Recall(numbered(n, "anna@example.org", "loop@example.net"))
	}
	if err := f.settle(t.Context(), numbered(9, "anna@example.org", "loop@example.net")); err != nil {
		t.Fatal(err)
	}
	if len(f.submitter.got) != 0 || len(f.store.got) != 1 || strings.Contains(f.log.String(), "too many") {
		t.Errorf("%d sent, %d joined; log:\n%s", len(f.submitter.got), len(f.store.got), f.log)
	}
}

// TestD03_PostmasterIsToldInLists of what nobody else is told, but never of what was on its way to the postmaster.
func TestD03_PostmasterIsToldInLists(t *testing.T) {
	f := newFixture(t)
	quiet := numbered(3, "", "bob@example.net")
	quiet.Outcome.Results[0].State = eventv1.RecipientState_RECIPIENT_STATE_CANCELLED
	own := numbered(4, "", "carol@example.net")
	own.Outcome.ReportsOn = "01OLD"
	for _, item := range []Item{
		numbered(1, "", "bob@example.net"), numbered(2, "", "postmaster@EXAMPLE.org"), quiet, own,
	} {
		item.Outcome.Tenant = "shop"
		if err := f.settle(t.Context(), item); err != nil {
			t.Fatal(err)
		}
	}
	var told []string
	for _, n := range f.store.got {
		told = append(told, n.GetMessageId()+" "+n.GetTo()+" "+n.GetLimit()+n.GetTenant())
	}
	want := []string{"01N1 Postmaster@example.org postmaster", "01N4 Postmaster@example.org postmaster"}
	if !slices.Equal(told, want) || len(f.submitter.got) != 0 {
		t.Errorf("joined %v, want %v; %d sent", told, want, len(f.submitter.got))
	}
	f = newFixture(t)
	f.postmaster = ""
	if err := f.settle(t.Context(), numbered(1, "", "bob@example.net")); err != nil || len(f.store.got) != 0 {
		t.Errorf("without a postmaster: %v, joined %v", err, f.store.got)
	}
}

func list() join.List {
	entry := func(id, address string, hop uint32) join.Entry {
		r := &eventv1.JoinedRecipient{Address: address, Status: "5.1.1", Happened: "It failed."}
		return join.Entry{Recipient: r, Notice: &eventv1.JoinedNotice{
			OutcomeId: id + ".1.1", Kind: "failed", Limit: "sender", To: "anna@example.org", MessageId: id,
			Recipients: []*eventv1.JoinedRecipient{r}, Loop: &eventv1.LoopTrace{HopNumber: hop}, DecidedAt: timestamppb.Now(),
		}}
	}
	return join.List{
		Key: "dsn/list/abc", ID: "abc", To: "anna@example.org", Tenant: "shop", RequireTLS: true, Part: 1, Parts: 1, Total: 2,
		Entries: []join.Entry{entry("01A", "a@example.net", 1), entry("01B", "b@example.net", 3)},
		Due:     time.Date(2026, time.November, 2, 11, 0, 0, 0, time.UTC),
	}
}

func TestD17_ListIsHandedIn(t *testing.T) {
	f := newFixture(t)
	if err := f.Tell(t.Context(), list()); err != nil || len(f.submitter.got) != 1 {
		t.Fatalf("Tell = %v, %d sent", err, len(f.submitter.got))
	}
	n := f.submitter.got[0]
	if n.Key != "dsn/list/abc" || n.Recipient != "anna@example.org" || !n.RequireTLS || n.About.GetMessageId() != "01A" ||
		n.About.GetTenant() != "shop" || n.About.GetLoop().GetHopNumber() != 3 {
		t.Errorf("list %+v", n)
	}
	for _, want := range []string{"10:00 and 11:00 UTC", "01A  5.1.1  a@example.net", "01B  5.1.1  b@example.net"} {
		if !strings.Contains(string(n.Content), want) {
			t.Errorf("%q is not in\n%s", want, n.Content)
		}
	}
	if got := f.counts(t, "postrider.dsn.lists", "result"); got["accepted"] != 1 {
		t.Errorf("lists %v", got)
	}
	if log := f.log.String(); !strings.Contains(log, `"kind":"list"`) || strings.Contains(log, "anna") {
		t.Errorf("log:\n%s", log)
	}
}

func TestD17_ListThatIsNotTakenIsRecorded(t *testing.T) {
	f := newFixture(t)
	f.submitter.receipt = submit.Receipt{Refused: &rpc.Error{Code: codes.InvalidArgument, Reason: "INVALID_CONTENT"}}
	if err := f.Tell(t.Context(), list()); err != nil {
		t.Fatal(err)
	}
	impossible := list()
	impossible.To = "no address"
	if err := f.Tell(t.Context(), impossible); err != nil {
		t.Fatal(err)
	}
	if got := f.counts(t, "postrider.dsn.lists", "result"); got["refused"] != 1 || got["impossible"] != 1 {
		t.Errorf("lists %v", got)
	}
	if log := f.log.String(); strings.Count(log, `"level":"ERROR"`) != 2 || strings.Contains(log, "no address") {
		t.Errorf("log:\n%s", log)
	}
	f.submitter.err = context.Canceled
	if err := f.Tell(t.Context(), list()); !errors.Is(err, context.Canceled) {
		t.Errorf("Tell while stopping = %v", err)
	}
}

func TestD17_LookTellsWhatWouldBeJoined(t *testing.T) {
	f := newFixture(t)
	item := numbered(1, "anna@example.org", "loop@example.net", "bob@example.net")
	for n := range 2 {
		f.Recall(numbered(10+n, "anna@example.org", "loop@example.net"))
	}
	decisions := f.Look(item.Outcome, policy.Decide(item.Outcome), item.StoredAt)
	if len(decisions) != 2 || !decisions[0].Due() || decisions[1].Reason != policy.ReasonThrottled ||
		!slices.Equal(decisions[1].Recipients, []int{0}) {
		t.Errorf("decisions %+v", decisions)
	}
	f.Close()
	if decisions = f.Look(item.Outcome, policy.Decide(item.Outcome), item.StoredAt); len(decisions) != 1 || !decisions[0].Due() {
		t.Errorf("where nothing is counted: %+v", decisions)
	}
}
