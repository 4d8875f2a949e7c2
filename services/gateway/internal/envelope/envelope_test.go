// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

var (
	now      = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	submit   = rpc.Caller{Name: "shop", Rights: []rpc.Right{rpc.RightSubmit}}
	reporter = rpc.Caller{Name: "dsn", Rights: []rpc.Right{rpc.RightSubmit, rpc.RightNullSender}}
)

// good returns an envelope without faults, changed by the given functions.
func good(change ...func(*gatewayv1.Envelope)) *gatewayv1.Envelope {
	e := &gatewayv1.Envelope{Sender: "a@example.org", Recipients: to("b@example.com")}
	for _, c := range change {
		c(e)
	}
	return e
}

func to(addresses ...string) []*gatewayv1.Recipient {
	list := make([]*gatewayv1.Recipient, len(addresses))
	for i, a := range addresses {
		list[i] = &gatewayv1.Recipient{Address: a}
	}
	return list
}

func many(n int) []*gatewayv1.Recipient {
	list := make([]*gatewayv1.Recipient, n)
	for i := range list {
		list[i] = &gatewayv1.Recipient{Address: fmt.Sprintf("user%d@example.com", i)}
	}
	return list
}

func TestCheckFaults(t *testing.T) {
	type env = gatewayv1.Envelope
	first := func(change func(*gatewayv1.Recipient)) func(*env) {
		return func(e *env) { change(e.Recipients[0]) }
	}
	cases := []struct {
		name     string
		envelope *env
		reason   string
		enhanced string
		fields   string // comma-separated
	}{
		{"NoEnvelope", nil, "INVALID_ENVELOPE", "5.5.4", "envelope"},
		{"G01_SenderNoDomain", good(func(e *env) { e.Sender = "root" }), "INVALID_SENDER", "5.1.7", "envelope.sender"},
		{"G01_SenderRoute", good(func(e *env) { e.Sender = "@x:a@example.org" }), "INVALID_SENDER", "5.1.7", "envelope.sender"},
		{"G01_SenderPort", good(func(e *env) { e.Sender = "a@example.org:25" }), "INVALID_SENDER", "5.1.7", "envelope.sender"},
		{"G02_SenderCRLF", good(func(e *env) { e.Sender = "a@example.org\r\nDATA" }), "INVALID_SENDER", "5.1.7", "envelope.sender"},
		{"G01_LongLocal", good(func(e *env) { e.Recipients = to(strings.Repeat("x", 65) + "@example.com") }), "INVALID_RECIPIENT", "5.1.3", "envelope.recipients[0].address"},
		{"G01_LongDomain", good(func(e *env) { e.Recipients = to("a@" + strings.Repeat("x.", 130) + "com") }), "INVALID_RECIPIENT", "5.1.3", "envelope.recipients[0].address"},
		{"G02_RecipientCRLF", good(func(e *env) { e.Recipients = to("b@example.com\r\nRCPT TO:<c@example.com>") }), "INVALID_RECIPIENT", "5.1.3", "envelope.recipients[0].address"},
		{"G02_RecipientNUL", good(func(e *env) { e.Recipients = to("b\x00@example.com") }), "INVALID_RECIPIENT", "5.1.3", "envelope.recipients[0].address"},
		{"R50_RecipientDomain", good(func(e *env) { e.Recipients = to("b@exa mple.com", "c@-x-.example") }), "INVALID_RECIPIENT", "5.1.3", "envelope.recipients[0].address,envelope.recipients[1].address"},
		{"R51_RecipientLiteral", good(func(e *env) { e.Recipients = to("b@[300.1.1.1]") }), "INVALID_RECIPIENT", "5.1.3", "envelope.recipients[0].address"},
		{"G04_NoRecipients", good(func(e *env) { e.Recipients = nil }), "RECIPIENT_COUNT", "5.5.3", "envelope.recipients"},
		{"G04_TooManyRecipients", good(func(e *env) { e.Recipients = many(1001) }), "RECIPIENT_COUNT", "5.5.3", "envelope.recipients"},
		{"G05_EachIndex", good(func(e *env) { e.Recipients = to("a@example.com", "bad", "c@example.com", "") }), "INVALID_RECIPIENT", "5.1.3", "envelope.recipients[1].address,envelope.recipients[3].address"},
		{"G05_PartialNoneGood", good(func(e *env) { e.Partial = true; e.Recipients = to("bad", "worse") }), "INVALID_RECIPIENT", "5.1.3", "envelope.recipients[0].address,envelope.recipients[1].address"},
		{"D04_NeverWithOthers", good(first(func(r *gatewayv1.Recipient) {
			r.Notify = []eventv1.Notify{eventv1.Notify_NOTIFY_NEVER, eventv1.Notify_NOTIFY_DELAY}
		})), "INVALID_DSN_PARAMETER", "5.5.4", "envelope.recipients[0].notify"},
		{"G17_UnknownNotify", good(first(func(r *gatewayv1.Recipient) { r.Notify = []eventv1.Notify{9} })), "INVALID_DSN_PARAMETER", "5.5.4", "envelope.recipients[0].notify"},
		{"G17_OrcptWithoutType", good(first(func(r *gatewayv1.Recipient) { r.Orcpt = "b@example.com" })), "INVALID_DSN_PARAMETER", "5.5.4", "envelope.recipients[0].orcpt"},
		{"G17_OrcptType", good(first(func(r *gatewayv1.Recipient) { r.Orcpt = "rf c;b@example.com" })), "INVALID_DSN_PARAMETER", "5.5.4", "envelope.recipients[0].orcpt"},
		{"G17_OrcptLong", good(first(func(r *gatewayv1.Recipient) { r.Orcpt = "rfc822;" + strings.Repeat("x", 494) })), "INVALID_DSN_PARAMETER", "5.5.4", "envelope.recipients[0].orcpt"},
		{"G02_OrcptCRLF", good(first(func(r *gatewayv1.Recipient) { r.Orcpt = "rfc822;b\r\n@example.com" })), "INVALID_DSN_PARAMETER", "5.5.4", "envelope.recipients[0].orcpt"},
		{"G02_OrcptUTF8Control", good(first(func(r *gatewayv1.Recipient) { r.Orcpt = "utf-8;b\u0085@example.com" })), "INVALID_DSN_PARAMETER", "5.5.4", "envelope.recipients[0].orcpt"},
		{"G17_EnvidLong", good(func(e *env) { e.Envid = strings.Repeat("x", 101) }), "INVALID_DSN_PARAMETER", "5.5.4", "envelope.envid"},
		{"G02_EnvidCR", good(func(e *env) { e.Envid = "x\ry" }), "INVALID_DSN_PARAMETER", "5.5.4", "envelope.envid"},
		{"G17_Ret", good(func(e *env) { e.Ret = 7 }), "INVALID_DSN_PARAMETER", "5.5.4", "envelope.ret"},
		{"Tenant", good(func(e *env) { e.Tenant = "Shop" }), "INVALID_ENVELOPE", "5.5.4", "envelope.tenant"},
		{"TenantLong", good(func(e *env) { e.Tenant = strings.Repeat("x", 65) }), "INVALID_ENVELOPE", "5.5.4", "envelope.tenant"},
		{"Priority", good(func(e *env) { e.Priority = 9 }), "INVALID_ENVELOPE", "5.5.4", "envelope.priority"},
		{"KeyLong", good(func(e *env) { e.IdempotencyKey = strings.Repeat("x", 257) }), "INVALID_ENVELOPE", "5.5.4", "envelope.idempotency_key"},
		{"G02_KeyControl", good(func(e *env) { e.IdempotencyKey = "x\ny" }), "INVALID_ENVELOPE", "5.5.4", "envelope.idempotency_key"},
		{"TagLong", good(func(e *env) { e.Tag = strings.Repeat("x", 65) }), "INVALID_ENVELOPE", "5.5.4", "envelope.tag"},
		{"NotBefore31Days", good(func(e *env) { e.NotBefore = timestamppb.New(now.Add(31 * 24 * time.Hour)) }), "INVALID_ENVELOPE", "5.5.4", "envelope.not_before"},
		{"NotBeforeInvalid", good(func(e *env) { e.NotBefore = &timestamppb.Timestamp{Nanos: -1} }), "INVALID_ENVELOPE", "5.5.4", "envelope.not_before"},
		{"ReportsOn", good(func(e *env) { e.ReportsOn = "x" }), "INVALID_ENVELOPE", "5.5.4", "envelope.reports_on"},
		{"LoopWithoutReportsOn", good(func(e *env) { e.ReportsOnLoop = &eventv1.LoopTrace{HopNumber: 2} }), "INVALID_ENVELOPE", "5.5.4", "envelope.reports_on_loop"},
		{"AllFaultsAtOnce", good(func(e *env) { e.Sender = "x"; e.Tag = "\n"; e.Recipients = to("y") }), "INVALID_SENDER", "5.1.7", "envelope.sender,envelope.tag,envelope.recipients[0].address"},
		{"PartialDoesNotExcuseTheRest", good(func(e *env) { e.Partial = true; e.Tag = "\n" }), "INVALID_ENVELOPE", "5.5.4", "envelope.tag"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Check(tc.envelope, reporter, now)
			e, ok := errors.AsType[*rpc.Error](err)
			if !ok {
				t.Fatalf("err = %v", err)
			}
			fields := make([]string, len(e.Fields))
			for i, f := range e.Fields {
				fields[i] = f.Field
				if f.Description == "" || strings.ContainsAny(f.Description, "\r\n\x00@") {
					t.Errorf("description %q is empty or quotes the request", f.Description)
				}
			}
			if e.Code != codes.InvalidArgument || e.Reason != tc.reason || e.Enhanced.String() != tc.enhanced || strings.Join(fields, ",") != tc.fields {
				t.Errorf("got %v %s %s %v", e.Code, e.Reason, e.Enhanced, fields)
			}
		})
	}
}

func TestG03_NullSenderNeedsTheRight(t *testing.T) {
	for name, e := range map[string]*gatewayv1.Envelope{
		"null sender": good(func(e *gatewayv1.Envelope) { e.Sender = "" }),
		"reports on":  good(func(e *gatewayv1.Envelope) { e.ReportsOn = "01HX0000000000000000000000" }),
		"loop trace":  good(func(e *gatewayv1.Envelope) { e.ReportsOnLoop = &eventv1.LoopTrace{} }),
	} {
		_, err := Check(e, submit, now)
		got, ok := errors.AsType[*rpc.Error](err)
		if !ok || got.Code != codes.PermissionDenied || got.Enhanced.String() != "5.7.1" || len(got.Fields) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, err := Check(good(func(e *gatewayv1.Envelope) {
		e.Sender, e.ReportsOn, e.ReportsOnLoop = "", "01HX0000000000000000000000", &eventv1.LoopTrace{HopNumber: 3}
	}), reporter, now)
	if err != nil || !e.Sender.IsNull() || e.ReportedHop != 3 {
		t.Errorf("with the right: %+v, %v", e, err)
	}
}

func TestG04_EqualRecipientsAreJoined(t *testing.T) {
	e, err := Check(good(func(e *gatewayv1.Envelope) {
		e.Recipients = to("b@Example.COM", "B@example.com", "b@example.com", `"b"@example.com`, "b@bücher.example", "b@xn--bcher-kva.example")
	}), submit, now)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]string, len(e.Recipients))
	for i, r := range e.Recipients {
		got[i] = fmt.Sprintf("%d %s %s", r.Index, r.Address, r.Destination)
	}
	want := "0 b@Example.COM example.com|1 B@example.com example.com|3 \"b\"@example.com example.com|4 b@bücher.example xn--bcher-kva.example"
	if strings.Join(got, "|") != want {
		t.Errorf("got %s", strings.Join(got, "|"))
	}
	if _, err := Check(good(func(e *gatewayv1.Envelope) { e.Recipients = many(1000) }), submit, now); err != nil {
		t.Errorf("1000 recipients: %v", err)
	}
}

func TestG05_PartialTakesTheGoodOnes(t *testing.T) {
	e, err := Check(good(func(e *gatewayv1.Envelope) {
		e.Partial = true
		e.Recipients = to("bad", "b@example.com", "c@example.com\n", "d@example.com")
		e.Recipients[3].Orcpt = "nonsense"
	}), submit, now)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Recipients) != 1 || e.Recipients[0].Index != 1 {
		t.Errorf("taken %+v", e.Recipients)
	}
	want := []string{"0 ADDRESS_NO_DOMAIN 5.1.3", "2 ADDRESS_CONTROL 5.1.3", "3 INVALID_DSN_PARAMETER 5.5.4"}
	for i, r := range e.Refused {
		if got := fmt.Sprintf("%d %s %s", r.GetIndex(), r.GetReason(), r.GetEnhanced()); got != want[i] || r.GetMessage() == "" {
			t.Errorf("refused %s, want %s", got, want[i])
		}
	}
}

func TestCheckedValues(t *testing.T) {
	e, err := Check(good(func(e *gatewayv1.Envelope) {
		e.Tenant, e.Tag, e.IdempotencyKey, e.Envid = "shop-1.a_b", "März", "key", "QQ 314159"
		e.Ret, e.RequireTls = eventv1.Ret_RET_FULL, true
		e.NotBefore = timestamppb.New(now.Add(time.Hour))
		e.Recipients[0].Notify = []eventv1.Notify{eventv1.Notify_NOTIFY_DELAY, eventv1.Notify_NOTIFY_FAILURE, eventv1.Notify_NOTIFY_DELAY}
		e.Recipients[0].Orcpt = "rfc822;x y@example.com"
	}), submit, now)
	if err != nil {
		t.Fatal(err)
	}
	r := e.Recipients[0]
	if len(r.Notify) != 2 || r.OrcptType != "rfc822" || r.OrcptAddress != "x y@example.com" {
		t.Errorf("recipient %+v", r)
	}
	if e.Priority != eventv1.Priority_PRIORITY_NORMAL || !e.NotBefore.Equal(now.Add(time.Hour)) || e.Tag != "März" || !e.RequireTLS {
		t.Errorf("envelope %+v", e)
	}
	past, err := Check(good(func(e *gatewayv1.Envelope) { e.NotBefore = timestamppb.New(now.Add(-time.Hour)) }), submit, now)
	if err != nil || !past.NotBefore.IsZero() {
		t.Errorf("a moment past: %+v, %v", past, err)
	}
}

func FuzzRecipient(f *testing.F) {
	f.Add("b@example.com", "rfc822;b@example.com", int32(2))
	f.Add("\"a b\"@[192.0.2.1]", "utf-8;ö@example.com", int32(1))
	f.Fuzz(func(t *testing.T, address, orcpt string, notify int32) {
		r, fault := checkRecipient(&gatewayv1.Recipient{Address: address, Orcpt: orcpt, Notify: []eventv1.Notify{eventv1.Notify(notify)}}, 0)
		if fault != nil {
			return
		}
		for _, text := range []string{r.Address.String(), r.Destination, r.OrcptType, r.OrcptAddress} {
			if strings.ContainsAny(text, "\r\n\x00") {
				t.Fatalf("control character taken: %q", text)
			}
		}
		if r.Address.String() != address || r.Destination == "" {
			t.Fatalf("%q became %q to %q", address, r.Address, r.Destination)
		}
	})
}
