// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/testkit/smtptest"
)

// parseAll feeds input line by line and gives the first reply, the lines used, and the error.
func parseAll(input string, maxLines int) (r rawReply, used int, err error) {
	var p replyParser
	for line := range strings.Lines(input) {
		used++
		done, err := p.line([]byte(line), maxLines)
		if err != nil {
			return rawReply{}, used, err
		}
		if done {
			return p.take(), used, nil
		}
	}
	return rawReply{}, used, nil
}

func TestS17_RepliesInOddForms(t *testing.T) {
	for input, want := range map[string]string{
		"220 mx.example ESMTP\r\n":              "220 mx.example ESMTP",
		"220\r\n":                               "220",
		"220 \r\n":                              "220",
		"220\n":                                 "220",
		"220 lf only\n":                         "220 lf only",
		"220-a\r\n220-\r\n220-b\n220 c\r\n":     "220 a  b c",
		"220-a\r\n220\r\n":                      "220 a ",
		"599 unknown code of a known class\r\n": "599 unknown code of a known class",
	} {
		r, _, err := parseAll(input, maxReplyLines)
		if err != nil {
			t.Errorf("%q: %v", input, err)
			continue
		}
		if got := r.parsed(smtpreply.StageGreeting).String(); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%q: got %q, want %q", input, got, want)
		}
	}
}

func TestS27_MultiLineBounds(t *testing.T) {
	many := strings.Repeat("250-x\r\n", maxReplyLines-1)
	for name, c := range map[string]struct {
		input string
		good  bool
	}{
		"different codes":       {"250-a\r\n251 b\r\n", false},
		"as many lines as may":  {many + "250 x\r\n", true},
		"one line more":         {many + "250-x\r\n250 x\r\n", false},
		"bytes":                 {strings.Repeat("250-"+strings.Repeat("x", 4000)+"\r\n", 17) + "250 x\r\n", false},
		"bytes just within":     {strings.Repeat("250-"+strings.Repeat("x", 4000)+"\r\n", 16) + "250 x\r\n", true},
		"other code at the end": {"550-no\r\n450 no\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, err := parseAll(c.input, maxReplyLines)
			if good := err == nil && r.code != 0; good != c.good {
				t.Errorf("got %v, %v", r.code, err)
			}
		})
	}
	if _, _, err := parseAll(strings.Repeat("250-x\r\n", maxEhloLines-1)+"250 x\r\n", maxEhloLines); err != nil {
		t.Errorf("EHLO reply of 2,000 lines: %v", err)
	}
}

func TestS28_WhatIsNoReply(t *testing.T) {
	for _, input := range []string{
		"\r\n", "2\r\n", "22\r\n", "abc\r\n", "120 x\r\n", "600 x\r\n", "020 x\r\n", "2a0 x\r\n", "22x x\r\n", "2200\r\n",
		"220x\r\n", "220\tx\r\n", "220_\r\n", " 220 x\r\n", "-20 x\r\n", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\n",
		"220-a\r\nb\r\n", "\xff\xfb\x01\r\n", "٢٢٠ x\r\n",
	} {
		if r, _, err := parseAll(input, maxReplyLines); err == nil {
			t.Errorf("%q: taken as %d", input, r.code)
		}
	}
}

// A code nobody has heard of means what its first digit means, and is recorded as x.0.0.
func TestS29_UnknownCodeByItsFirstDigit(t *testing.T) {
	for _, c := range []struct {
		step, reply, want, status string
	}{
		{"RCPT", "299 whatever", "taken", ""},
		{"RCPT", "499 whatever", "499", "4.0.0"},
		{"RCPT", "599 whatever", "599", "5.0.0"},
		{"RCPT", "577", "577", "5.0.0"},
		{"MAIL", "289 hm", "taken", ""},
		{"MAIL", "488 hm", "488", "4.0.0"},
		{"MAIL", "588 hm", "588", "5.0.0"},
		{"DATA", "477 hm", "477", "4.0.0"},
		{"DATA", "577 hm", "577", "5.0.0"},
		{"dot", "266 done", "taken", ""},
		{"dot", "466 hm", "466", "4.0.0"},
		{"dot", "566 hm", "566", "5.0.0"},
	} {
		t.Run(c.step+" "+c.reply, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				conn := mustDial(t, o)
				r := conn.Send(t.Context(), newMessage(body, "a@example.test"))
				wantCodes(t, r, c.want)
				if fail := r.Recipients[0].Failure; fail != nil {
					if got := fail.RecordedStatus().String(); got != c.status || fail.Reason != "" {
						t.Errorf("status %s, reason %q; want %s", got, fail.Reason, c.status)
					}
				}
				conn.Quit()
			}, func(s *smtptest.Conn) {
				s.Greet(mxName)
				for _, step := range []struct{ command, reply string }{
					{"MAIL", "250 ok"}, {"RCPT", "250 ok"}, {"DATA", "354 go"}, {"dot", "250 ok"},
				} {
					if step.command == "dot" {
						s.ReadData()
					} else {
						s.Expect(step.command)
					}
					if step.command == c.step {
						step.reply = c.reply
					}
					s.Send(step.reply + "\r\n")
					if step.reply[0] > '3' {
						break
					}
				}
				s.Quit()
			})
		})
	}
}

func TestS30_EnhancedCodes(t *testing.T) {
	for _, c := range []struct {
		input string
		stage smtpreply.Stage
		want  string
	}{
		{"550 5.1.1 no such user\r\n", smtpreply.StageRcpt, "5.1.1"},
		{"550 4.1.1 other class\r\n", smtpreply.StageRcpt, "5.0.0"},
		{"550 no code\r\n", smtpreply.StageRcpt, "5.0.0"},
		{"552 full\r\n", smtpreply.StageRcpt, "5.2.2"},
		{"552 big\r\n", smtpreply.StageDot, "5.3.4"},
		{"552 big\r\n", smtpreply.StageContent, "5.3.4"},
		{"552 5.2.2 full\r\n", smtpreply.StageDot, "5.2.2"},
		{"421 bye\r\n", smtpreply.StageMail, "4.3.2"},
		{"554 5.7.1 blocked\r\n", smtpreply.StageGreeting, "5.7.1"},
		{"554 blocked\r\n", smtpreply.StageGreeting, "5.3.2"},
		{"250-2.1.5 a\r\n250 2.1.5 b\r\n", smtpreply.StageRcpt, "2.1.5"},
	} {
		r, _, err := parseAll(c.input, maxReplyLines)
		if err != nil {
			t.Fatalf("%q: %v", c.input, err)
		}
		if got := r.parsed(c.stage).StatusAt(c.stage).String(); got != c.want {
			t.Errorf("%q at %s: status %s, want %s", c.input, c.stage, got, c.want)
		}
	}
}

func TestS31_RemoteTextIsCleanedAndCut(t *testing.T) {
	r, _, err := parseAll("550-5.1.1 a\x00b\x1b[31m\rc\r\n550 5.1.1 caf\xc3\xa9 \xff\r\n", maxReplyLines)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.parsed(smtpreply.StageRcpt).String(), "550 5.1.1 a?b?[31m?c café ?"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	long, _, err := parseAll(strings.Repeat("550-"+strings.Repeat("x", 1000)+"\r\n", 10)+"550 end\r\n", maxReplyLines)
	if err != nil {
		t.Fatal(err)
	}
	kept := long.parsed(smtpreply.StageDot)
	if n := len(kept.Text()); n > keepBytes+100 {
		t.Errorf("%d octets of text kept", n)
	}
	if last := kept.Lines[len(kept.Lines)-1]; last != "(cut)" {
		t.Errorf("the cut is not told: %q", last)
	}
	short, _, _ := parseAll(strings.Repeat("550-x\r\n", 100)+"550 end\r\n", maxReplyLines)
	if n := len(short.parsed(smtpreply.StageDot).Lines); n != keepLines+1 {
		t.Errorf("%d lines kept", n)
	}
}

func FuzzReplyReader(f *testing.F) {
	for _, seed := range []string{
		"220 mx ESMTP\r\n", "250-a\r\n250-SIZE 1000\r\n250 PIPELINING\r\n", "552 5.3.4 big\r\n421 bye\r\n", "220\n", "2",
		"250-a\r\n251 b\r\n", "\x00\xff\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		box := newMailbox(func() {}, func() {})
		box.expect(3)
		r := startReader(strings.NewReader(string(input)), box)
		<-r.done
		for n := 0; ; n++ {
			reply, surplus, fault := box.next()
			if reply.code == 0 {
				if surplus.code == 0 && fault == nil && !box.outOfStep() {
					t.Fatal("the reader ended without saying why")
				}
				break
			}
			if n == 3 {
				t.Fatal("more replies than were awaited")
			}
			checkReply(t, reply)
		}
	})
}

// checkReply holds the invariants of every reply that is passed on.
func checkReply(t *testing.T, raw rawReply) {
	t.Helper()
	if raw.code < 200 || raw.code > 599 || len(raw.texts) == 0 || len(raw.texts) > maxReplyLines {
		t.Fatalf("impossible reply %d with %d lines", raw.code, len(raw.texts))
	}
	for _, stage := range []smtpreply.Stage{smtpreply.StageGreeting, smtpreply.StageDot} {
		reply := raw.parsed(stage)
		if text := reply.String(); strings.ContainsAny(text, "\r\n\x00\x1b") || len(text) > 3*keepBytes+200 {
			t.Fatalf("text of a reply is not clean or not cut: %q", text)
		}
		if status := reply.StatusAt(stage); !status.IsZero() && status.Class != raw.code/100 {
			t.Fatalf("status %s for %d", status, raw.code)
		}
	}
}
