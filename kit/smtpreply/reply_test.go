// SPDX-License-Identifier: Apache-2.0

package smtpreply

import (
	"reflect"
	"strings"
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func TestS30_NewReplyTakesTheEnhancedCode(t *testing.T) {
	tests := []struct {
		name  string
		code  int
		lines []string
		want  Reply
	}{
		{"one line", 550, []string{"5.1.1 No such user"}, Reply{550, Code(5, 1, 1), []string{"No such user"}}},
		{
			"on every line", 550,
			[]string{"5.7.1 Blocked", "5.7.1 see https://example.com"},
			Reply{550, Code(5, 7, 1), []string{"Blocked", "see https://example.com"}},
		},
		{
			"other code on a later line stays text", 550,
			[]string{"5.7.1 Blocked", "5.1.1 too"},
			Reply{550, Code(5, 7, 1), []string{"Blocked", "5.1.1 too"}},
		},
		{"only on a later line", 550, []string{"Blocked", "5.7.1 why"}, Reply{550, EnhancedCode{}, []string{"Blocked", "5.7.1 why"}}},
		{"wrong class", 550, []string{"4.7.1 Try later"}, Reply{550, EnhancedCode{}, []string{"4.7.1 Try later"}}},
		{"intermediate replies have none", 354, []string{"2.0.0 go"}, Reply{354, EnhancedCode{}, []string{"2.0.0 go"}}},
		{"malformed", 550, []string{"5.1 x"}, Reply{550, EnhancedCode{}, []string{"5.1 x"}}},
		{"empty text", 250, []string{""}, Reply{250, EnhancedCode{}, []string{""}}},
		{"no lines", 250, nil, Reply{250, EnhancedCode{}, []string{}}},
		{"cleaned", 550, []string{"5.1.1 No\x1b[1m such"}, Reply{550, Code(5, 1, 1), []string{"No?[1m such"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := NewReply(tt.code, tt.lines); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestS29S30_StatusAt: what is recorded when the remote gives no usable code.
func TestS29S30_StatusAt(t *testing.T) {
	tests := []struct {
		name  string
		reply Reply
		stage Stage
		want  string
	}{
		{"remote's own", Reply{Code: 550, Enhanced: Code(5, 1, 1)}, StageRcpt, "5.1.1"},
		{"remote's own beats the table", Reply{Code: 552, Enhanced: Code(5, 2, 3)}, StageRcpt, "5.2.3"},
		{"other class", Reply{Code: 550, Enhanced: Code(4, 1, 1)}, StageRcpt, "5.0.0"},
		{"unknown 5yz", Reply{Code: 599}, StageMail, "5.0.0"},
		{"unknown 4yz", Reply{Code: 477}, StageMail, "4.0.0"},
		{"2yz", Reply{Code: 250}, StageDot, "2.0.0"},
		{"552 at RCPT", Reply{Code: 552}, StageRcpt, "5.2.2"},
		{"552 at MAIL", Reply{Code: 552}, StageMail, "5.0.0"},
		{"552 at DATA", Reply{Code: 552}, StageData, "5.3.4"},
		{"552 while sending", Reply{Code: 552}, StageContent, "5.3.4"},
		{"552 at the dot", Reply{Code: 552}, StageDot, "5.3.4"},
		{"421 anywhere", Reply{Code: 421}, StageDot, "4.3.2"},
		{"421 as greeting", Reply{Code: 421}, StageGreeting, "4.3.2"},
		{"421 with code", Reply{Code: 421, Enhanced: Code(4, 7, 0)}, StageMail, "4.7.0"},
		{"greeting 450", Reply{Code: 450}, StageGreeting, "4.3.2"},
		{"greeting 554", Reply{Code: 554}, StageGreeting, "5.3.2"},
		{"greeting 554 with code", Reply{Code: 554, Enhanced: Code(5, 7, 1)}, StageGreeting, "5.7.1"},
		{"greeting 220", Reply{Code: 220}, StageGreeting, "2.0.0"},
		{"354 is no result", Reply{Code: 354}, StageData, ""},
		{"no reply", Reply{}, StageData, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.reply.StatusAt(tt.stage).String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReply_Classes(t *testing.T) {
	for code, want := range map[int][4]bool{
		0: {}, 199: {}, 600: {}, 200: {true}, 299: {true}, 354: {false, true}, 421: {false, false, true}, 599: {false, false, false, true},
	} {
		r := Reply{Code: code}
		if got := [4]bool{r.Positive(), r.Intermediate(), r.Transient(), r.Permanent()}; got != want {
			t.Errorf("%d: %v, want %v", code, got, want)
		}
	}
}

func TestReply_String(t *testing.T) {
	tests := map[string]Reply{
		"":                          {},
		"250":                       {Code: 250, Lines: []string{""}},
		"550 5.1.1 No such user":    {Code: 550, Enhanced: Code(5, 1, 1), Lines: []string{"No such user"}},
		"554 Go away see elsewhere": {Code: 554, Lines: []string{"Go away", "see elsewhere"}},
	}
	for want, r := range tests {
		if got := r.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestReply_OverTheWire(t *testing.T) {
	for _, r := range []Reply{
		{Code: 250}, {Code: 550, Enhanced: Code(5, 1, 1), Lines: []string{"No such user", "really"}}, {Code: 354, Lines: []string{""}},
	} {
		if got := ReplyFromProto(ReplyProto(r)); !reflect.DeepEqual(got, r) {
			t.Errorf("sent %+v, got %+v", r, got)
		}
	}
	if got := ReplyProto(Reply{}); got != nil {
		t.Errorf("a missing reply was sent: %v", got)
	}
	for _, code := range []uint32{0, 199, 600, 1 << 31} {
		if got := ReplyFromProto(&eventv1.Reply{Code: code, Lines: []string{"x"}}); !reflect.DeepEqual(got, Reply{}) {
			t.Errorf("code %d gave %+v", code, got)
		}
	}
	dirty := ReplyFromProto(&eventv1.Reply{Code: 550, Lines: []string{"a\r\nb"}})
	if dirty.Lines[0] != "a??b" {
		t.Errorf("a line of an event was not cleaned: %q", dirty.Lines[0])
	}
}

// FuzzNewReply: a reply made of remote bytes stands in an event and comes back the same.
func FuzzNewReply(f *testing.F) {
	f.Add(550, "5.1.1 a\n5.1.1 b")
	f.Add(250, "")
	f.Add(421, "4.3.2 \xff\x00")
	f.Fuzz(func(t *testing.T, code int, text string) {
		if code < 200 || code > 599 {
			return
		}
		lines := strings.Split(text, "\n")
		r := NewReply(code, lines)
		if len(r.Lines) != len(lines) {
			t.Fatalf("%d lines became %d", len(lines), len(r.Lines))
		}
		if !r.Enhanced.IsZero() && (!r.Enhanced.Valid() || r.Enhanced.Class != code/100) {
			t.Fatalf("reply %d has the code %+v", code, r.Enhanced)
		}
		if got := ReplyFromProto(ReplyProto(r)); !reflect.DeepEqual(got, r) {
			t.Fatalf("sent %+v, got %+v", r, got)
		}
	})
}
