// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"errors"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/services/dsn/internal/policy"
)

func TestD01_AddressedToTheEnvelopeSenderAndNothingElse(t *testing.T) {
	m, p := compose(t, whole(input(refused("bob@example.net")), original))
	if m.Recipient != "anna@example.org" {
		t.Errorf("envelope recipient %q", m.Recipient)
	}
	if to := p.header.Get("To"); to != "<anna@example.org>" {
		t.Errorf("To: %s", to)
	}
	head, _, _ := bytes.Cut(m.Content, []byte("\r\n\r\n"))
	for _, other := range []string{"header-from", "header-sender", "reply-to@", "return-path", "disposition", "receipt@"} {
		if bytes.Contains(head, []byte(other)) {
			t.Errorf("%s of the content stands in the header of the notification", other)
		}
	}
}

func TestD01_EnvelopeSenderIsKeptAsStored(t *testing.T) {
	for stored, to := range map[string]string{
		`"anna >x"@example.org`:    `<"anna >x"@example.org>`,
		"Anna.B@EXAMPLE.org":       "<Anna.B@EXAMPLE.org>",
		"anna@b\u00fccher.example": "<anna@xn--bcher-kva.example>",
		"anna@[192.0.2.1]":         "<anna@[192.0.2.1]>",
	} {
		in := input(refused("bob@example.net"))
		in.Outcome.EnvelopeSender = stored
		m, p := compose(t, in)
		if m.Recipient != stored || p.header.Get("To") != to {
			t.Errorf("sender %q: recipient %q, To: %s", stored, m.Recipient, p.header.Get("To"))
		}
	}
}

func TestD14_HeaderFields(t *testing.T) {
	_, p := compose(t, input(refused("bob@example.net")))
	for name, want := range map[string]string{
		"From":           "Mail Delivery System <MAILER-DAEMON@mail.example.org>",
		"Subject":        "Delivery failed: your message could not be delivered",
		"Date":           "Mon, 2 Nov 2026 10:05:00 +0000",
		"Message-Id":     "<dsn.01JBQWERTYUIOPASDFGHJKLZXC.1.2.failed@mail.example.org>",
		"In-Reply-To":    "<1234@app.example.org>",
		"Auto-Submitted": "auto-replied",
		"Mime-Version":   "1.0",
	} {
		if got := p.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	references := strings.Fields(p.header.Get("References"))
	want := []string{"<first@example.net>", "<second@example.net>", "<1234@app.example.org>"}
	if !slices.Equal(references, want) {
		t.Errorf("References: %v, want %v", references, want)
	}
	if _, err := mail.ParseAddress(p.header.Get("From")); err != nil {
		t.Errorf("From: %v", err)
	}
	if _, err := mail.ParseDate(p.header.Get("Date")); err != nil {
		t.Errorf("Date: %v", err)
	}
}

func TestD14_MessageIDsOfTheOriginal(t *testing.T) {
	tests := []struct {
		name, known, header string
		want                string
	}{
		{"known to the queue", "<a@b>", "", "<a@b>"},
		{"read from the header", "", "Message-ID: <c@d>\r\n", "<c@d>"},
		{"folded", "", "Message-ID:\r\n <c@d>\r\n", "<c@d>"},
		{"none", "", "Subject: x\r\n", ""},
		{"not an id", "a@b", "Message-ID: hello\r\n", ""},
		{"two in one", "<a@b> <c@d>", "", ""},
		{"line end inside", "<a@b\r\nBcc: x@y>", "", ""},
		{"no domain", "<a@>", "", ""},
		{"too long", "<" + strings.Repeat("a", 300) + "@b>", "", ""},
		{"not ASCII", "<\u00fc@b>", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := input(refused("bob@example.net"))
			in.Outcome.Content.MessageIdHeader = tt.known
			in.Original = []byte(tt.header)
			_, p := compose(t, in)
			if got := p.header.Get("In-Reply-To"); got != tt.want {
				t.Errorf("In-Reply-To: %q, want %q", got, tt.want)
			}
			if got := strings.TrimSpace(p.header.Get("References")); got != tt.want {
				t.Errorf("References: %q, want %q", got, tt.want)
			}
		})
	}
}

func TestD14_ReferencesAreBounded(t *testing.T) {
	in := input(refused("bob@example.net"))
	in.Original = []byte("References: <root@x> " + strings.Repeat("<middle@x> ", 500) + "junk <last@x>\r\n")
	_, p := compose(t, in)
	ids := strings.Fields(p.header.Get("References"))
	if len(ids) != maxReferences+1 || ids[0] != "<root@x>" || ids[maxReferences-1] != "<last@x>" {
		t.Errorf("%d references: %v", len(ids), ids)
	}
}

func TestD05_EachKindHasItsOwnMessageID(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range []policy.Kind{policy.Failed, policy.Delayed, policy.Relayed, policy.Delivered} {
		in := input(refused("bob@example.net"))
		in.Kind = kind
		_, p := compose(t, in)
		seen[p.header.Get("Message-Id")+p.header.Get("Subject")] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d different ids and subjects for four kinds", len(seen))
	}
}

// TestQ09_ComposedTwiceIsTheSame: the gateway knows a repeated notification by its key only when its bytes are the same.
func TestQ09_ComposedTwiceIsTheSame(t *testing.T) {
	in := whole(input(refused("bob@example.net"), unreached("eve@example.net", expired)), original)
	first, _ := compose(t, in)
	in.StoredAt = time.Now()
	second, _ := compose(t, in)
	if !bytes.Equal(first.Content, second.Content) {
		t.Error("the same outcome gave two different notifications")
	}
}

func TestDateOfAnOutcomeWithoutTime(t *testing.T) {
	in := input(refused("bob@example.net"))
	in.Outcome.DecidedAt = nil
	in.StoredAt = at(11, 30).AsTime()
	_, p := compose(t, in)
	if got := p.header.Get("Date"); got != "Mon, 2 Nov 2026 11:30:00 +0000" {
		t.Errorf("Date: %s", got)
	}
}

func TestBoundaryStandsInNoPart(t *testing.T) {
	in := whole(input(refused("bob@example.net")), original)
	m, p := compose(t, in)
	if n := bytes.Count(m.Content, []byte(p.boundary)); n != 1+3+1 {
		t.Errorf("boundary stands there %d times", n)
	}
	// A reply that quotes the boundary of the notification it will be part of makes another one.
	in.Outcome.Results[0].Reply.Lines = []string{"--" + p.boundary, "--" + p.boundary + "--"}
	_, other := compose(t, in)
	if other.boundary == p.boundary || len(other.types) != 3 {
		t.Errorf("boundary %s, types %v", other.boundary, other.types)
	}
}

func TestNewBoundaryAvoidsWhatStandsInAPart(t *testing.T) {
	parts := []part{{body: []byte("x")}}
	first := newBoundary(nil, parts)
	if !inAny([]part{{body: []byte("a " + first + " b")}}, first) {
		t.Error("a boundary inside a part is not seen")
	}
}

func TestInputErrors(t *testing.T) {
	tests := []struct {
		name, field string
		change      func(*Input)
	}{
		{"no outcome", "outcome", func(in *Input) { in.Outcome = nil }},
		{"no id", "id", func(in *Input) { in.Outcome.Id = "" }},
		{"id with line end", "id", func(in *Input) { in.Outcome.Id = "a\r\nb" }},
		{"id with bracket", "id", func(in *Input) { in.Outcome.Id = "a>b" }},
		{"id too long", "id", func(in *Input) { in.Outcome.Id = strings.Repeat("a", 101) }},
		{"no kind", "kind", func(in *Input) { in.Kind = policy.None }},
		{"no recipients", "recipients", func(in *Input) { in.Recipients = nil }},
		{"recipient that does not exist", "recipients", func(in *Input) { in.Recipients = []int{1} }},
		{"negative recipient", "recipients", func(in *Input) { in.Recipients = []int{-1} }},
		{"null sender", "envelope_sender", func(in *Input) { in.Outcome.EnvelopeSender = "" }},
		{"sender with line end", "envelope_sender", func(in *Input) { in.Outcome.EnvelopeSender = "a@b.example\r\nBcc: c@d" }},
		{"sender without domain", "envelope_sender", func(in *Input) { in.Outcome.EnvelopeSender = "anna" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := input(refused("bob@example.net"))
			tt.change(&in)
			m, err := composer().Compose(in)
			var fault *InputError
			if !errors.As(err, &fault) || fault.Field != tt.field || len(m.Content) > 0 {
				t.Errorf("Compose = %d octets, %v; want an error about %s", len(m.Content), err, tt.field)
			}
			if err != nil && strings.Contains(err.Error(), "anna") {
				t.Errorf("error names an address: %v", err)
			}
		})
	}
}

func TestD16_RequireTLSTravelsAlong(t *testing.T) {
	in := whole(input(refused("bob@example.net")), original)
	if m, p := compose(t, in); m.RequireTLS || p.types[2] != "message/rfc822" {
		t.Errorf("ordinary mail: RequireTLS %v, third part %s", m.RequireTLS, p.types[2])
	}
	in.Outcome.RequireTls = true
	m, p := compose(t, in)
	if !m.RequireTLS || p.types[2] != "text/rfc822-headers" || strings.Contains(p.returned, "Hello Bob") {
		t.Errorf("REQUIRETLS: RequireTLS %v, third part %s", m.RequireTLS, p.types[2])
	}
}
