// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
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
