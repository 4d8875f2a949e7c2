// SPDX-License-Identifier: Apache-2.0

package fingerprint

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

var maker = NewMaker([32]byte{1})

// receipt is what a mail system writes anew each time.
func receipt(change ...func(*Message)) *Message {
	m := &Message{
		NullSender: true, Recipients: []string{"operator@b.example"}, Handed: true,
		From: "Mail Delivery System <postmaster@relay.example>", Subject: "Delivery receipt 4711",
		Body: []byte("Your message was delivered.\r\n"),
	}
	for _, c := range change {
		c(m)
	}
	return m
}

func text(s string) func(*Message)    { return func(m *Message) { m.Body = []byte(s) } }
func subject(s string) func(*Message) { return func(m *Message) { m.Subject = s } }

func both(c ...func(*Message)) func(*Message) {
	return func(m *Message) {
		for _, f := range c {
			f(m)
		}
	}
}

func multipart(kind string, parts ...string) func(*Message) {
	return func(m *Message) {
		m.ContentType = kind + "; boundary=\"=_b\""
		m.Body = []byte("preamble 1\r\n--=_b\r\n" + strings.Join(parts, "\r\n--=_b\r\n") + "\r\n--=_b--\r\n")
	}
}

func encoded(encoding, s string) func(*Message) {
	return func(m *Message) { m.Encoding, m.Body = encoding, []byte(s) }
}

// TestL06_WhatIsWrittenAnewDoesNotCount: each pair differs in digits, dates, ids, white space or case alone.
func TestL06_WhatIsWrittenAnewDoesNotCount(t *testing.T) {
	for name, pair := range map[string][2]func(*Message){
		"digits in the subject": {subject("Delivery receipt 4711"), subject("Delivery receipt 12")},
		"prefixes":              {subject("Receipt"), subject("RE: Fwd: AW: receipt")},
		"encoded word":          {subject("Zustellung 1 für alle"), subject("=?utf-8?q?Zustellung_22_f=C3=BCr_alle?=")},
		"case and white space":  {text("Your  message\r\n was delivered.\r\n"), text("YOUR MESSAGE WAS\r\nDELIVERED.")},
		"dates": {
			text("accepted Mon, 02 Nov 2026 09:30:00 +0100 (CET) by us"), text("accepted Tue, 3 Dec 2026 10:31:59 GMT by us"),
		},
		"other dates":       {text("on 2026-11-02T09:30:00Z at 9:30 am"), text("on 02.11.2026 at 11:05 PM")},
		"a number more":     {text("Queued as 9, 99 seconds."), text("Queued as 10, 100 seconds.")},
		"queue ids":         {text("queue id 3F2A9C1B5 by smtpd"), text("queue id 4XyZ1q2w3e by smtpd")},
		"ids of letters":    {text("token aBcDeFgHiJ ends"), text("token QqWwEeRrTt ends")},
		"hexadecimal":       {text("hash deadbeefcafe ends"), text("hash fadedfacade0 ends")},
		"message ids":       {text("Your message <20261102093000.4711.1@relay.example> came."), text("Your message <20261102093105.4712.2@relay.example> came.")},
		"uuids":             {text("of <550e8400-e29b-41d4-a716-446655440000@x.example>"), text("of <6ba7b810-9dad-11d1-80b4-00c04fd430c8@x.example>")},
		"ids of Exim":       {text("of <E1rKz5-0003Xy-2B@x.example>"), text("of <E1rL0a-0004Bc-7Q@x.example>")},
		"labelled ids":      {text("Message-ID: <1@x.example> came"), text("Message-ID: <abc@x.example> came")},
		"known message ids": {both(text("your <7@x.example> came"), ids("<7@x.example>")), both(text("your <8@x.example> came"), ids("<6@x.example> <8@x.example>"))},
		"base64": {
			encoded("base64", base64.StdEncoding.EncodeToString([]byte("receipt 1 for you"))),
			encoded("base64", base64.StdEncoding.EncodeToString([]byte("receipt 22222 for you"))),
		},
		"quoted-printable": {encoded("quoted-printable", "receipt =\r\n1 f=C3=BCr"), encoded("", "receipt 7 für")},
		"transfer encoding": {
			multipart("multipart/mixed", "Content-Type: text/plain\r\n\r\nreceipt 1"),
			multipart("multipart/mixed", "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n"+
				base64.StdEncoding.EncodeToString([]byte("receipt 2"))),
		},
		"what is wrapped": {
			multipart("multipart/mixed", "\r\nreceipt 1", "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ny"),
			multipart("multipart/mixed", "\r\nreceipt 2", "Content-Type: message/rfc822\r\n\r\nSubject: Receipt\r\n\r\nwrapped again"),
		},
		"multipart in multipart": {
			multipart("multipart/mixed", "\r\nreceipt 1"),
			multipart("multipart/mixed", "Content-Type: multipart/alternative;\r\n boundary=in\r\n\r\n--in\r\n\r\nreceipt 2\r\n--in--"),
		},
		"behind the first 4 KiB": {
			text(strings.Repeat("words of a long text 1 ", 400) + "end"), text(strings.Repeat("words of a long text 100 ", 400) + "other end"),
		},
		"order of recipients": {
			func(m *Message) { m.Recipients = []string{"a@x", "b@x"} }, func(m *Message) { m.Recipients = []string{"b@x", "a@x"} },
		},
	} {
		if one, two := maker.Of(receipt(pair[0])), maker.Of(receipt(pair[1])); one != two {
			t.Errorf("%s: not equal", name)
		}
	}
}

func ids(values ...string) func(*Message) { return func(m *Message) { m.IDs = values } }

func report(recipient, action string) func(*Message) {
	return multipart("multipart/report; report-type=delivery-status", "\r\nCould not be delivered.",
		"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; "+recipient+"\r\nAction: "+action+"\r\nStatus: 5.1.1")
}

// TestL06_WhatTellsMessagesApartCounts: each pair differs in what a person would call another message.
func TestL06_WhatTellsMessagesApartCounts(t *testing.T) {
	for name, pair := range map[string][2]func(*Message){
		"words of the subject":  {subject("Receipt"), subject("Read receipt")},
		"words of the text":     {text("was delivered"), text("was not delivered")},
		"addresses in the text": {text("<user1@x.example>: no such user"), text("<user2@x.example>: no such user")},
		"numbers as addresses":  {text("<4915112345678@sms.example>: gone"), text("<4915112345679@sms.example>: gone")},
		"hidden addresses":      {text("for dpdcnf87nu@relay.example"), text("for dpdcnf88nu@relay.example")},
		"case of an address":    {text("<User@x.example> is full"), text("<user@x.example> is full")},
		"number in a domain":    {text("<user@x1.example> is full"), text("<user@x2.example> is full")},
		"recipient":             {func(m *Message) { m.Recipients = []string{"user1@x"} }, func(m *Message) { m.Recipients = []string{"user2@x"} }},
		"more recipients":       {func(m *Message) { m.Recipients = []string{"a@x"} }, func(m *Message) { m.Recipients = []string{"a@x", "b@x"} }},
		"From":                  {func(m *Message) { m.From = "a1@x" }, func(m *Message) { m.From = "a2@x" }},
		"sender or none":        {func(m *Message) { m.NullSender = true }, func(m *Message) { m.NullSender = false }},
		"where a word stands":   {both(subject("one"), text("two")), both(subject(""), text("one two"))},
		"Final-Recipient":       {report("u1@x.example", "failed"), report("u2@x.example", "failed")},
		"Final-Recipient id":    {report("20261102093000.4711.1@x.example", "failed"), report("20261102093000.4711.2@x.example", "failed")},
		"Action":                {report("u1@x.example", "failed"), report("u1@x.example", "delayed")},
	} {
		if one, two := maker.Of(receipt(pair[0])), maker.Of(receipt(pair[1])); one == two {
			t.Errorf("%s: equal", name)
		}
	}
	if NewMaker([32]byte{1}).Of(receipt()) != maker.Of(receipt()) || NewMaker([32]byte{2}).Of(receipt()) == maker.Of(receipt()) {
		t.Error("the key does not tell prints apart, or tells more")
	}
}

func TestL07_WhichMessagesAreResponses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Message)
		want   bool
	}{
		"null sender":    {func(*Message) {}, true},
		"auto-replied":   {func(m *Message) { m.NullSender, m.AutoSubmitted = false, " Auto-Replied; vacation" }, true},
		"with a comment": {func(m *Message) { m.NullSender, m.AutoSubmitted = false, "auto-replied (vacation)" }, true},
		"report":         {func(m *Message) { m.NullSender, m.ContentType = false, "Multipart/Report; boundary=x" }, true},
		"read receipt": {func(m *Message) {
			m.NullSender, m.ContentType = false, "multipart/report; report-type=disposition-notification"
		}, true},
		"ordinary":                {func(m *Message) { m.NullSender = false }, false},
		"auto-generated":          {func(m *Message) { m.NullSender, m.AutoSubmitted = false, "auto-generated" }, false},
		"not auto-submitted":      {func(m *Message) { m.NullSender, m.AutoSubmitted = false, "no" }, false},
		"null sender of a caller": {func(m *Message) { m.Handed = false }, false},
		"report of a caller":      {func(m *Message) { m.Handed, m.NullSender, m.ContentType = false, false, "multipart/report" }, false},
	} {
		if got := receipt(tc.change).Response(); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestDamagedBodies: what cannot be read as MIME still has a print, and never more of it than the bounds.
func TestDamagedBodies(t *testing.T) {
	deep := "x"
	for range 20 {
		deep = "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + deep
	}
	for name, m := range map[string]*Message{
		"no boundary":      {ContentType: "multipart/mixed", Body: []byte("text")},
		"boundary missing": {ContentType: "multipart/mixed; boundary=b", Body: []byte("text")},
		"bad parameters":   {ContentType: "multipart/mixed; boundary=\"b", Body: []byte("--b\r\n\r\ntext")},
		"header only":      {ContentType: "multipart/mixed; boundary=b", Body: []byte("--b\r\nContent-Type: text/plain")},
		"nested deeply":    {ContentType: "multipart/mixed; boundary=b", Body: []byte(deep)},
		"bad base64":       {Encoding: "base64", Body: []byte("====")},
		"bad words":        {Subject: "=?utf-8?b?====?= =?x?q?"},
		"empty":            {},
		"at signs":         {Body: []byte("@ @@ a@ @b <@> a@b@c")},
		"zero bytes":       {Body: []byte{0, 1, 2, '@', 0}},
	} {
		if first := maker.Of(m); first != maker.Of(m) {
			t.Errorf("%s: two prints", name)
		}
	}
}

func FuzzOf(f *testing.F) {
	f.Add("multipart/report; boundary=b", "", "re: 1", []byte("--b\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b\r\n\r\nFinal-Recipient: rfc822; a@b\r\n"))
	f.Add("text/plain", "quoted-printable", "=?utf-8?q?x?=", []byte("a=3D1 a1@b.example =\r\n"))
	f.Add("multipart/mixed; boundary=\"\"", "base64", "", []byte("--\r\n\r\n"))
	f.Fuzz(func(t *testing.T, contentType, encoding, subject string, body []byte) {
		m := &Message{ContentType: contentType, Encoding: encoding, Subject: subject, Body: body, Recipients: []string{"a@b"}}
		before := string(body)
		one := maker.Of(m)
		if maker.Of(m) != one || string(body) != before {
			t.Fatal("two prints of one message, or the body was changed")
		}
		w := writer{}
		w.part(body)
		if len(w.out) > maxText+1 {
			t.Fatalf("%d bytes count", len(w.out))
		}
		if encoding == "" && !strings.HasPrefix(strings.ToLower(contentType), "multipart/") && len(body) < maxText/2 {
			m.Body = append([]byte("12 34\t\r\n"), body...)
			if maker.Of(m) != one {
				t.Fatalf("numbers and white space in front count: %q", body)
			}
		}
	})
}

func ExamplePrint() {
	fmt.Println(Print{0xab})
	// Output: ab000000000000000000000000000000
}
