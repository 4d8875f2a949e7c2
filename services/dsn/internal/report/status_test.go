// SPDX-License-Identifier: Apache-2.0

package report

import (
	"slices"
	"strings"
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
)

func TestD09_FieldsOfTheMessage(t *testing.T) {
	in := input(refused("bob@example.net"))
	_, p := compose(t, in)
	if names := p.status[0].names(); !slices.Equal(names, []string{"Reporting-MTA", "Arrival-Date"}) {
		t.Errorf("fields %v; Original-Envelope-Id must be absent when no ENVID was given", names)
	}
	if got := p.status[0].get(t, "Reporting-MTA"); got != "dns; mail.example.org" {
		t.Errorf("Reporting-MTA: %s", got)
	}
	if got := p.status[0].get(t, "Arrival-Date"); got != "Mon, 2 Nov 2026 10:00:00 +0000" {
		t.Errorf("Arrival-Date: %s", got)
	}
	const envid = `QQ 314159 "odd+=" \x`
	in.Outcome.Envid = envid
	_, p = compose(t, in)
	if got := p.status[0].get(t, "Original-Envelope-Id"); got != envid {
		t.Errorf("Original-Envelope-Id: %q, want %q", got, envid)
	}
}

func TestD10_FieldsOfARecipient(t *testing.T) {
	result := refused("bob@example.net")
	result.Recipient.OrcptType, result.Recipient.OrcptAddress = "rfc822", "Bob+list@Example.com"
	_, p := compose(t, input(result))
	want := group{
		{"Original-Recipient", "rfc822; Bob+list@Example.com"},
		{"Final-Recipient", "rfc822; bob@example.net"},
		{"Action", "failed"},
		{"Status", "5.1.1"},
		{"Remote-MTA", "dns; mx1.example.net"},
		{"Diagnostic-Code", "smtp; 550 5.1.1 No such user here"},
		{"Last-Attempt-Date", "Mon, 2 Nov 2026 10:04:00 +0000"},
	}
	if !slices.Equal(p.status[1], want) {
		t.Errorf("fields\n%v, want\n%v", p.status[1], want)
	}
}

func TestD10_NoRemoteFieldsWithoutAReply(t *testing.T) {
	result := unreached("bob@example.net", expired)
	result.RemoteMta = "mx1.example.net"
	_, p := compose(t, input(result))
	want := []string{"Final-Recipient", "Action", "Status", "Last-Attempt-Date"}
	if names := p.status[1].names(); !slices.Equal(names, want) {
		t.Errorf("fields %v, want %v", names, want)
	}
}

func TestD10_OrcptTypeIsKept(t *testing.T) {
	for _, tt := range []struct{ kind, address, want string }{
		{"rfc822", "a@b.example", "rfc822; a@b.example"},
		{"RFC822", "a@b.example", "RFC822; a@b.example"},
		{"x400", "/C=de/O=x", "x400; /C=de/O=x"},
		{"", "a@b.example", "rfc822; a@b.example"},
		{"x y", "a@b.example", "rfc822; a@b.example"},
		{"rfc822", "", ""},
		{"rfc822", `"a  b"@c.example`, `rfc822; "a  b"@c.example`},
	} {
		result := refused("bob@example.net")
		result.Recipient.OrcptType, result.Recipient.OrcptAddress = tt.kind, tt.address
		_, p := compose(t, input(result))
		if got := p.status[1].get(t, "Original-Recipient"); got != tt.want {
			t.Errorf("ORCPT %s;%s: Original-Recipient: %q, want %q", tt.kind, tt.address, got, tt.want)
		}
	}
}

func TestD10_NoAttemptNoLastAttemptDate(t *testing.T) {
	in := input(unreached("bob@example.net", expired))
	in.Outcome.Attempt = nil
	_, p := compose(t, in)
	if got := p.status[1].get(t, "Last-Attempt-Date"); got != "" {
		t.Errorf("Last-Attempt-Date: %s", got)
	}
}

func TestD10_WillRetryUntilOnlyWhenDelayed(t *testing.T) {
	for _, kind := range []policy.Kind{policy.Failed, policy.Delayed, policy.Relayed, policy.Delivered} {
		in := input(unreached("bob@example.net", deferred))
		in.Kind = kind
		_, p := compose(t, in)
		got := p.status[1].get(t, "Will-Retry-Until")
		if want := "Sat, 7 Nov 2026 10:00:00 +0000"; (got == want) != (kind == policy.Delayed) || got != "" && got != want {
			t.Errorf("%s: Will-Retry-Until: %q", kind, got)
		}
		if got := p.status[1].get(t, "Action"); got != string(kind) {
			t.Errorf("Action: %q, want %s", got, kind)
		}
	}
}

func TestD10_EveryRecipientHasAGroup(t *testing.T) {
	in := input(refused("a@example.net"), refused("b@example.net"), refused("c@example.net"))
	in.Recipients = []int{0, 2}
	_, p := compose(t, in)
	if len(p.status) != 3 {
		t.Fatalf("%d groups, want one for the message and two for recipients", len(p.status))
	}
	for i, want := range []string{"rfc822; a@example.net", "rfc822; c@example.net"} {
		if got := p.status[i+1].get(t, "Final-Recipient"); got != want {
			t.Errorf("group %d: %s, want %s", i+1, got, want)
		}
	}
}

func TestD11_StatusClassFitsAction(t *testing.T) {
	tests := []struct {
		kind   policy.Kind
		state  eventv1.RecipientState
		status *eventv1.EnhancedCode
		want   string
	}{
		{policy.Failed, bounced, code(5, 1, 1), "5.1.1"},
		{policy.Failed, bounced, code(4, 7, 1), "5.7.1"},
		{policy.Failed, bounced, code(2, 1, 5), "5.0.0"},
		{policy.Failed, bounced, nil, "5.0.0"},
		{policy.Failed, bounced, code(4, 4, 7), "4.4.7"},
		{policy.Failed, expired, code(4, 4, 2), "4.4.7"},
		{policy.Failed, expired, code(5, 0, 0), "4.4.7"},
		{policy.Failed, expired, nil, "4.4.7"},
		{policy.Failed, eventv1.RecipientState_RECIPIENT_STATE_CANCELLED, code(5, 7, 0), "5.7.0"},
		{policy.Delayed, deferred, code(4, 4, 2), "4.4.2"},
		{policy.Delayed, deferred, code(5, 3, 2), "4.3.2"},
		{policy.Delayed, deferred, nil, "4.0.0"},
		{policy.Relayed, relayed, code(2, 1, 5), "2.1.5"},
		{policy.Relayed, relayed, code(4, 1, 5), "2.0.0"},
		{policy.Relayed, relayed, nil, "2.0.0"},
		{policy.Delivered, relayed, code(2, 0, 0), "2.0.0"},
		{policy.Failed, bounced, code(9, 1, 1), "5.0.0"},
		{policy.Failed, bounced, code(5, 1000, 1), "5.0.0"},
	}
	for _, tt := range tests {
		result := refused("bob@example.net")
		result.State, result.Status = tt.state, tt.status
		in := input(result)
		in.Kind = tt.kind
		_, p := compose(t, in)
		if got := p.status[1].get(t, "Status"); got != tt.want {
			t.Errorf("%s, %v, %v: Status: %s, want %s", tt.kind, tt.state, tt.status, got, tt.want)
		}
	}
}

func TestQ03_ExpiredShowsTheLastRealReply(t *testing.T) {
	result := refused("bob@example.net")
	result.State, result.Status, result.Reply = expired, code(4, 4, 7), nil
	result.Failure.Reply = &eventv1.Reply{Code: 451, Enhanced: code(4, 3, 0), Lines: []string{"Disk trouble"}}
	result.Failure.Status = code(4, 3, 0)
	_, p := compose(t, input(result))
	if got := p.status[1].get(t, "Diagnostic-Code"); got != "smtp; 451 4.3.0 Disk trouble" {
		t.Errorf("Diagnostic-Code: %s", got)
	}
	if got := p.status[1].get(t, "Status"); got != "4.4.7" {
		t.Errorf("Status: %s", got)
	}
	if !strings.Contains(p.text, "451 4.3.0 Disk trouble") || !strings.Contains(p.text, "Delivery was tried twice") {
		t.Errorf("the text hides the cause:\n%s", p.text)
	}
}

func TestD12_RemoteTextCannotLeaveItsField(t *testing.T) {
	result := refused("bob@example.net")
	result.Reply.Lines = []string{"one\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; x@y", "two\x00\x1b[31m\u2028three\tfour"}
	result.RemoteMta = "mx1\r\nX: y"
	result.Recipient.OrcptType, result.Recipient.OrcptAddress = "rfc822\r\nA", "x\r\nStatus: 2.0.0"
	_, p := compose(t, input(result))
	if len(p.status) != 2 {
		t.Fatalf("%d groups", len(p.status))
	}
	g := p.status[1]
	if g.get(t, "Action") != "failed" || g.get(t, "Status") != "5.1.1" || g.get(t, "Remote-MTA") != "" {
		t.Errorf("fields %v", g)
	}
	want := "smtp; 550-5.1.1 one??Action: delivered????Final-Recipient: rfc822; x@y 550 5.1.1 two??[31m?three four"
	if got := g.get(t, "Diagnostic-Code"); got != want {
		t.Errorf("Diagnostic-Code:\n%q, want\n%q", got, want)
	}
	if got := g.get(t, "Original-Recipient"); got != "rfc822; x??Status: 2.0.0" {
		t.Errorf("Original-Recipient: %q", got)
	}
}

func TestD12_LongRepliesAreCutAndFolded(t *testing.T) {
	for name, lines := range map[string][]string{
		"words":       {strings.Repeat("word ", 1000)},
		"one word":    {strings.Repeat("x", 5000)},
		"many lines":  slices.Repeat([]string{"line of a reply"}, 500),
		"empty lines": slices.Repeat([]string{""}, 500),
	} {
		t.Run(name, func(t *testing.T) {
			result := refused("bob@example.net")
			result.Reply.Lines = lines
			m, p := compose(t, input(result))
			got := strings.TrimPrefix(p.status[1].get(t, "Diagnostic-Code"), "smtp; ")
			if len(got) > maxDiagnostic+2 || len(got) < 900 {
				t.Errorf("%d octets of the reply", len(got))
			}
			if len(m.Content) > 8000 {
				t.Errorf("notification of %d octets", len(m.Content))
			}
		})
	}
}

func TestD12_AReplyWithoutText(t *testing.T) {
	result := refused("bob@example.net")
	result.Reply = &eventv1.Reply{Code: 550}
	_, p := compose(t, input(result))
	if got := p.status[1].get(t, "Diagnostic-Code"); got != "smtp; 550" {
		t.Errorf("Diagnostic-Code: %q", got)
	}
}

func TestD12_AnAddressIsNeverCut(t *testing.T) {
	result := refused("bob@example.net")
	result.Recipient.OrcptType, result.Recipient.OrcptAddress = "x400", strings.Repeat("x", 980)
	_, p := compose(t, input(result))
	if got := p.status[1].get(t, "Original-Recipient"); got != "" {
		t.Errorf("Original-Recipient of %d octets; it does not fit a line and must be absent", len(got))
	}
}

func TestD10_FinalRecipientIsAlwaysThere(t *testing.T) {
	longest := strings.Repeat("\u00fc", 32) + "@" + strings.Repeat("\u00fc", 94) + "x"
	for name, address := range map[string]string{
		"longest the gateway takes": longest, "longer": strings.Repeat("\u00fc", 300), "empty": "",
	} {
		_, p := compose(t, input(refused(address)))
		got := p.status[1].get(t, "Final-Recipient")
		if got == "" || name == "longest the gateway takes" && got != "utf-8; "+sevenBit(longest) {
			t.Errorf("%s: Final-Recipient: %q", name, got)
		}
	}
}
