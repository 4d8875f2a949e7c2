// SPDX-License-Identifier: Apache-2.0

package smtpreply

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// TestError_PermanentIsOnlyA5yzReply: a missing reply is never permanent, whatever is recorded for the recipient.
func TestError_PermanentIsOnlyA5yzReply(t *testing.T) {
	tests := []struct {
		name                 string
		err                  Error
		permanent, temporary bool
	}{
		{"550", Error{Stage: StageRcpt, Code: 550}, true, false},
		{"599", Error{Stage: StageRcpt, Code: 599}, true, false},
		{"450", Error{Stage: StageRcpt, Code: 450}, false, true},
		{"no greeting", Error{Stage: StageGreeting, Reason: ReasonNoGreeting}, false, true},
		{"null MX bounces without a reply", Error{Stage: StageResolve, Reason: ReasonNullMX}, false, false},
		{"554 greeting that is deferred", Error{Stage: StageGreeting, Code: 554, Status: Code(4, 3, 2)}, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.err.Permanent(); got != tt.permanent {
				t.Errorf("Permanent = %v", got)
			}
			if got := tt.err.Temporary(); got != tt.temporary {
				t.Errorf("Temporary = %v", got)
			}
		})
	}
}

func TestError_RecordedStatus(t *testing.T) {
	tests := []struct {
		name string
		err  Error
		want EnhancedCode
	}{
		{"set", Error{Code: 550, Status: Code(4, 3, 2)}, Code(4, 3, 2)},
		{"an invalid one does not count", Error{Code: 550, Status: Code(7, 0, 0)}, Code(5, 0, 0)},
		{"reply", Error{Stage: StageRcpt, Code: 550, Enhanced: Code(5, 1, 1)}, Code(5, 1, 1)},
		{"reply beats reason", Error{Stage: StageGreeting, Code: 554, Reason: ReasonGreetingRefused}, Code(5, 3, 2)},
		{"reason", Error{Stage: StageResolve, Reason: ReasonMXSelf}, Code(5, 4, 6)},
		{"354 to a command that must not get it", Error{Stage: StageMail, Code: 354, Reason: ReasonProtocol}, Code(4, 5, 0)},
		{"250 in the middle of data", Error{Stage: StageContent, Code: 250}, Code(4, 5, 0)},
		{"lookup", Error{Stage: StageResolve}, Code(4, 4, 3)},
		{"connect", Error{Stage: StageConnect}, Code(4, 4, 1)},
		{"later", Error{Stage: StageData}, Code(4, 4, 2)},
		{"nothing known", Error{}, Code(4, 0, 0)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.err.RecordedStatus(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestReason_StatusOfTheSpecification: the codes of behaviour.md, rule by rule.
func TestReason_StatusOfTheSpecification(t *testing.T) {
	rules := map[Reason]string{
		"null_mx":             "5.1.10",
		"no_such_domain":      "5.1.2",
		"dns_temp":            "4.4.3",
		"no_address":          "5.4.4",
		"mx_no_address":       "5.4.4",
		"cname_loop":          "4.4.3",
		"mx_self":             "5.4.6",
		"dns_tcp_blocked":     "4.4.3",
		"no_greeting":         "4.4.2",  // S-02
		"ambiguous":           "4.4.2",  // S-09
		"connect":             "4.4.1",  // S-11
		"greeting_refused":    "4.3.2",  // S-15
		"protocol":            "4.5.0",  // S-16
		"self_session":        "4.4.6",  // S-19
		"connection_lost":     "4.4.2",  // S-34
		"timeout":             "4.4.2",  // S-03
		"require_tls_policy":  "5.7.10", // S-41
		"require_tls_keyword": "5.7.30", // S-41
		"size":                "5.3.4",  // S-45
		"too_many_recipients": "4.5.3",  // S-54
		"eight_bit":           "5.6.3",  // S-67
		"smtputf8":            "5.6.7",  // S-68
		"binary":              "5.6.1",  // S-69
		"connection_limit":    "4.4.5",  // S-74
		"expired":             "4.4.7",
		"hops":                "5.4.6",  // L-01
		"own_trace":           "5.4.6",  // L-04
		"fingerprint":         "5.4.6",  // L-07
		"site_down":           "4.4.1",
		"":                    "",
		"word_of_a_newer_one": "",
	}
	for reason, want := range rules {
		if got := reason.Status().String(); got != want {
			t.Errorf("%q is recorded as %q, want %q", reason, got, want)
		}
	}
}

func TestError_TextAndCause(t *testing.T) {
	err := &Error{Stage: StageGreeting, Reason: ReasonConnectionLost, Detail: "closed before the greeting ended", Err: io.ErrUnexpectedEOF}
	const want = "greeting: connection_lost: closed before the greeting ended: unexpected EOF"
	if err.Error() != want {
		t.Errorf("got %q, want %q", err.Error(), want)
	}
	wrapped := fmt.Errorf("try mx1.example: %w", err)
	if !errors.Is(wrapped, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if got, ok := errors.AsType[*Error](wrapped); !ok || got != err {
		t.Error("the type is lost")
	}
	if got := (&Error{Stage: StageRcpt, Code: 550, Enhanced: Code(5, 1, 1), Text: []string{"No such user"}}).Error(); got != "rcpt: 550 5.1.1 No such user" {
		t.Errorf("got %q", got)
	}
	if got := (&Error{Stage: StageQuit}).Error(); got != "quit: failed" {
		t.Errorf("got %q", got)
	}
	if got := (&Error{Err: errors.New("a\nb")}).Error(); strings.Contains(got, "\n") {
		t.Errorf("%q has two lines", got)
	}
}

func TestError_FromReply(t *testing.T) {
	r := Reply{Code: 450, Enhanced: Code(4, 2, 0), Lines: []string{"later"}}
	err := FromReply(StageRcpt, r)
	if err.Stage != StageRcpt || !reflect.DeepEqual(err.Reply(), r) || err.RecordedStatus() != Code(4, 2, 0) {
		t.Errorf("got %+v", err)
	}
}

// TestError_CrossesTheQueueUnchanged: all but the cause arrives, and the status is the recorded one.
func TestError_CrossesTheQueueUnchanged(t *testing.T) {
	for _, sent := range []*Error{
		{Stage: StageRcpt, Code: 550, Enhanced: Code(5, 1, 1), Text: []string{"No such user", "at all"}, Status: Code(5, 1, 1)},
		{Stage: StageGreeting, Reason: ReasonNoGreeting, Detail: "no greeting within 1m", Status: Code(4, 4, 2), Err: io.EOF},
		{Stage: StageResolve, Reason: ReasonNullMX, Status: Code(5, 1, 10)},
		{Stage: StageUnspecified, Status: Code(4, 0, 0)},
	} {
		data, err := proto.Marshal(sent.Proto())
		if err != nil {
			t.Fatal(err)
		}
		var p eventv1.Failure
		if err := proto.Unmarshal(data, &p); err != nil {
			t.Fatal(err)
		}
		want := *sent
		want.Err = nil
		if got := FromProto(&p); !reflect.DeepEqual(got, &want) {
			t.Errorf("sent %+v, got %+v", want, got)
		}
	}
}

func TestError_ProtoFillsTheStatusAndSpillsNothing(t *testing.T) {
	p := (&Error{Stage: StageConnect, Reason: ReasonConnect, Err: errors.New("dial tcp 10.0.0.7:25: refused")}).Proto()
	if got := EnhancedFromProto(p.GetStatus()); got != Code(4, 4, 1) {
		t.Errorf("status %v", got)
	}
	if strings.Contains(p.String(), "10.0.0.7") {
		t.Errorf("the cause crossed: %v", p)
	}
	if p.GetReply() != nil {
		t.Errorf("a reply nobody gave: %v", p.GetReply())
	}
	dirty := (&Error{Code: 550, Text: []string{"a\xff\r\n"}, Detail: "b\xff", Reason: "c\n"}).Proto()
	if _, err := proto.Marshal(dirty); err != nil {
		t.Errorf("cannot be sent: %v", err)
	}
	if (*Error)(nil).Proto() != nil || FromProto(nil) != nil {
		t.Error("nothing became something")
	}
}

// FuzzFromProto: whatever lies in the queue gives an error that can be stored again and reads the same.
func FuzzFromProto(f *testing.F) {
	seed, err := proto.Marshal((&Error{Stage: StageRcpt, Code: 550, Enhanced: Code(5, 1, 1), Text: []string{"x"}, Reason: ReasonTimeout}).Proto())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		var p eventv1.Failure
		if proto.Unmarshal(data, &p) != nil {
			return
		}
		first := FromProto(&p)
		if first.RecordedStatus().IsZero() || strings.ContainsAny(first.Error(), "\r\n") {
			t.Fatalf("%+v", first)
		}
		first.Status = first.RecordedStatus()
		if second := FromProto(first.Proto()); !reflect.DeepEqual(first, second) {
			t.Fatalf("first %+v, second %+v", first, second)
		}
	})
}

func TestWord(t *testing.T) {
	for _, c := range []struct {
		fail *Error
		want Reason
	}{
		{&Error{Stage: StageRcpt, Code: 550}, "rcpt_refused"},
		{&Error{Stage: StageDot, Code: 451}, "dot_deferred"},
		{&Error{Stage: StageMail, Code: 421}, "mail_deferred"},
		{&Error{Stage: StageRcpt, Code: 550, Reason: ReasonProtocol}, ReasonProtocol},
		{&Error{Stage: StageGreeting, Reason: ReasonNoGreeting}, ReasonNoGreeting},
		{&Error{Stage: StageRcpt}, ""},
	} {
		if got := c.fail.Word(); got != c.want {
			t.Errorf("%v: %q, want %q", c.fail, got, c.want)
		}
	}
}
