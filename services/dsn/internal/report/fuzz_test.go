// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/emersion/go-message"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
	"github.com/postrider/postrider/services/dsn/internal/text"
)

// FuzzCompose lets a remote host and an original say anything. Whatever they say, the notification is a sound report
// with exactly the fields and groups it is meant to have, and its machine part says what we say.
func FuzzCompose(f *testing.F) {
	f.Add("No such user", "mx1.example.net", "rfc822", "bob@example.net", "env", []byte(original), uint8(0))
	f.Add("a\r\n\r\nFinal-Recipient: rfc822; x\r\nAction: delivered", "mx\r\nX: y", "utf-8", "\u00fc\r\n@x", "\r\n", []byte("\r\n--b\r\n"), uint8(1))
	f.Add(strings.Repeat("x", 3000), "", "x400", strings.Repeat("\u00fc", 300), strings.Repeat("e", 2000), []byte("A\x00: b\rc\n"), uint8(7))
	f.Add("\x1b[2J\u202e\u2028", "\u00fc", "\u00fc", "a b", " ", []byte(strings.Repeat("X: y\r\n", 20000)), uint8(15))
	f.Add(" \t ", " ", " ", " ", "\t", []byte("Subject: =?utf-8?q?=0D=0A?=\r\nMessage-ID: <a\x7f@b>\r\n"), uint8(31))
	f.Fuzz(func(t *testing.T, reply, host, orcptType, orcpt, envid string, content []byte, mode uint8) {
		result := refused("bob@example.net")
		result.Reply.Lines = strings.Split(reply, "|")
		result.Failure.Detail, result.Failure.Reason = reply, host
		result.RemoteMta = host
		result.Recipient.OrcptType, result.Recipient.OrcptAddress = orcptType, orcpt
		if mode&1 != 0 {
			result.Recipient.Address = orcpt
		}
		in := whole(input(result, refused("carol@example.net")), string(content))
		in.Outcome.Envid, in.Outcome.MessageId = envid, host
		in.Outcome.Content.MessageIdHeader = host
		in.Outcome.Smtputf8 = mode&2 != 0
		if mode&4 != 0 {
			in.Outcome.EnvelopeSender = "\u00e4nna@example.org"
		}
		if mode&8 != 0 {
			in.Outcome.Ret = eventv1.Ret_RET_HDRS
		}
		in.Kind = []policy.Kind{policy.Failed, policy.Delayed, policy.Relayed, policy.Delivered}[mode>>4&3]
		m, err := composer().Compose(in)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parse(m.Content)
		if err != nil {
			t.Fatalf("%v\n%q", err, m.Content)
		}
		if len(p.status) != 3 {
			t.Fatalf("%d groups\n%q", len(p.status), m.Content)
		}
		for _, g := range p.status[1:] {
			if got := g.get(t, "Action"); got != string(in.Kind) {
				t.Errorf("Action: %q", got)
			}
			if got := g.get(t, "Status"); got != Status(in.Kind, result).String() {
				t.Errorf("Status: %q", got)
			}
		}
		if third := len(p.types) == 3; third && !strings.HasPrefix(string(content), p.returned) {
			t.Errorf("what is returned is no prefix of the original: %q", p.returned)
		}
	})
}

// FuzzComposeList: whatever addresses and ids say, a list is a sound message with exactly its header fields, and no line of
// it begins like one of a field's or of ours where an address stands.
func FuzzComposeList(f *testing.F) {
	f.Add("bob@example.net", "5.1.1", "01J", "It failed.", uint8(3))
	f.Add("a\r\n\r\nFrom: x", "\r\n.\r\n", "\x00", strings.Repeat("\u00fc", 3000), uint8(200))
	f.Fuzz(func(t *testing.T, address, status, reference, happened string, n uint8) {
		l := List{To: "anna@example.org", ID: "abc", Begin: at(10, 0).AsTime(), End: at(11, 0).AsTime(), Part: 1, Parts: 1 + int(n%3), Total: int(n) + 1}
		for i := range int(n) + 1 {
			line := text.Line{
				Kind: []policy.Kind{policy.Failed, policy.Delayed, policy.Relayed}[i%3], Address: address, Status: status, Reference: reference,
			}
			if i%2 == 0 {
				line.Happened = happened
			}
			l.Lines = append(l.Lines, line)
		}
		m, err := composer().ComposeList(l)
		if err != nil {
			t.Fatal(err)
		}
		entity, err := message.Read(bytes.NewReader(m.Content))
		if err != nil {
			t.Fatalf("%v\n%q", err, m.Content)
		}
		var names []string
		for fields := entity.Header.Fields(); fields.Next(); {
			names = append(names, fields.Key())
		}
		want := "From To Subject Date Message-Id Auto-Submitted Mime-Version Content-Type Content-Transfer-Encoding"
		if strings.Join(names, " ") != want {
			t.Errorf("header fields %v", names)
		}
		for line := range bytes.SplitSeq(m.Content, []byte("\r\n")) {
			if len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00\x1b") {
				t.Errorf("line %q", line)
			}
		}
	})
}
