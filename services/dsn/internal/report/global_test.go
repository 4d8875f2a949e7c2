// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"
)

// international is an SMTPUTF8 original from sender to a recipient whose address is not ASCII.
func international(sender string) Input {
	result := refused("b\u00f6b+x@example.net")
	result.Reply.Lines = []string{"Unbekannt: b\u00f6b"}
	result.Recipient.OrcptType, result.Recipient.OrcptAddress = "utf-8", "\u5c0f=\u660e@example.com"
	in := whole(input(result), strings.Replace(original, "From: Anna", "From: \u00c4nna", 1))
	in.Outcome.EnvelopeSender, in.Outcome.Smtputf8 = sender, true
	return in
}

func TestD13_WayThatTakesUTF8(t *testing.T) {
	in := international("\u00e4nna@example.org")
	m, p := compose(t, in)
	if got := strings.Join(p.types, " "); got != "text/plain message/global-delivery-status message/global" {
		t.Errorf("parts %s", got)
	}
	g := p.status[1]
	for name, want := range map[string]string{
		"Final-Recipient":    "utf-8; b\u00f6b+x@example.net",
		"Original-Recipient": "utf-8; \u5c0f=\u660e@example.com",
		"Diagnostic-Code":    "smtp; 550 5.1.1 Unbekannt: b\u00f6b",
	} {
		if got := g.get(t, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if p.header.Get("To") != "<\u00e4nna@example.org>" || m.Recipient != "\u00e4nna@example.org" {
		t.Errorf("To: %s, envelope recipient %s", p.header.Get("To"), m.Recipient)
	}
	if p.returned != string(in.Original) {
		t.Errorf("returned message differs:\n%s", p.returned)
	}
	in.Outcome.Ret = 0
	_, p = compose(t, in)
	if p.types[2] != "message/global-headers" || p.returned != string(headerBlock(in.Original)) {
		t.Errorf("third part %s:\n%s", p.types[2], p.returned)
	}
}

func TestD13_WayThatMayHaveSevenBits(t *testing.T) {
	in := international("anna@example.org")
	m, p := compose(t, in)
	if got := strings.Join(p.types, " "); got != "text/plain message/delivery-status message/global" {
		t.Errorf("parts %s", got)
	}
	if !isASCII(m.Content) {
		t.Error("the notification needs eight bits")
	}
	g := p.status[1]
	for name, want := range map[string]string{
		"Final-Recipient":    `utf-8; b\x{F6}b\x{2B}x@example.net`,
		"Original-Recipient": `utf-8; \x{5C0F}\x{3D}\x{660E}@example.com`,
		"Diagnostic-Code":    "smtp; 550 5.1.1 Unbekannt: b?b",
	} {
		if got := g.get(t, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(p.text, "b\u00f6b+x@example.net") || !strings.Contains(p.text, "Unbekannt: b\u00f6b") {
		t.Errorf("the person does not see the address or the answer as they are:\n%s", p.text)
	}
	if p.returned != string(in.Original) {
		t.Errorf("returned message differs:\n%s", p.returned)
	}
	in.Outcome.Ret = 0
	_, p = compose(t, in)
	if p.types[2] != "message/global-headers" || p.returned != string(headerBlock(in.Original)) {
		t.Errorf("third part %s:\n%s", p.types[2], p.returned)
	}
}

func TestD13_AddressForms(t *testing.T) {
	for _, tt := range []struct{ address, seven string }{
		{"\U0001F600@example.net", `\x{1F600}@example.net`},
		{"\u00fc a\\b@x", `\x{FC}\x{20}a\x{5C}b@x`},
		{`half\x{FC}` + "\u00f6@x", `half\x{FC}\x{F6}@x`},
	} {
		if got := finalRecipient(tt.address, false); got != "utf-8; "+tt.seven {
			t.Errorf("%q in seven bits: %s", tt.address, got)
		}
		if got := finalRecipient(tt.address, true); got != "utf-8; "+tt.address {
			t.Errorf("%q in eight bits: %s", tt.address, got)
		}
	}
	for _, tt := range []struct{ kind, address, seven, eight string }{
		{"utf-8", `plain\x{FC}@x`, `utf-8; plain\x{FC}@x`, `utf-8; plain\x{FC}@x`},
		{"rfc822", "\u00fc@x", `utf-8; \x{FC}@x`, "utf-8; \u00fc@x"},
		{"x400", "\u00fc", "", "x400; \u00fc"},
	} {
		if got := originalRecipient(tt.kind, tt.address, false); got != tt.seven {
			t.Errorf("ORCPT %s;%s in seven bits: %q", tt.kind, tt.address, got)
		}
		if got := originalRecipient(tt.kind, tt.address, true); got != tt.eight {
			t.Errorf("ORCPT %s;%s in eight bits: %q", tt.kind, tt.address, got)
		}
	}
}

func TestD13_DomainAloneNeedsNoSMTPUTF8(t *testing.T) {
	in := international("anna@b\u00fccher.example")
	m, p := compose(t, in)
	if !isASCII(m.Content) || p.types[1] != "message/delivery-status" {
		t.Errorf("parts %v", p.types)
	}
	if m.Recipient != "anna@b\u00fccher.example" || p.header.Get("To") != "<anna@xn--bcher-kva.example>" {
		t.Errorf("recipient %s, To: %s", m.Recipient, p.header.Get("To"))
	}
}
