// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"fmt"
	"testing"

	"github.com/postrider/postrider/kit/smtpreply"
)

func reply(stage smtpreply.Stage, code int, enhanced ...int) *smtpreply.Error {
	e := &smtpreply.Error{Stage: stage, Code: code, Text: []string{"text"}}
	if len(enhanced) == 3 {
		e.Enhanced = smtpreply.Code(enhanced[0], enhanced[1], enhanced[2])
	}
	return e
}

func because(stage smtpreply.Stage, reason smtpreply.Reason) *smtpreply.Error {
	return &smtpreply.Error{Stage: stage, Reason: reason}
}

func withReason(e *smtpreply.Error, reason smtpreply.Reason) *smtpreply.Error {
	e.Reason = reason
	return e
}

// The table of behaviour.md 2.6, and which address comes next.
func TestOf(t *testing.T) {
	const (
		connect, greeting, ehlo, helo = smtpreply.StageConnect, smtpreply.StageGreeting, smtpreply.StageEhlo, smtpreply.StageHelo
		startTLS, handshake           = smtpreply.StageStartTLS, smtpreply.StageTLS
		mail, rcpt, data              = smtpreply.StageMail, smtpreply.StageRcpt, smtpreply.StageData
		content, dot, rset            = smtpreply.StageContent, smtpreply.StageDot, smtpreply.StageRset
	)
	for _, c := range []struct {
		row      string
		fail     *smtpreply.Error
		want     Verdict
		sameHost bool // when Next
	}{
		{"S-61 taken", nil, Delivered, false},
		{"S-11 connect", because(connect, smtpreply.ReasonConnect), Next, true},
		{"R-22 no route", because(connect, smtpreply.ReasonNoLocalRoute), Next, true},
		{"S-12 silent", because(greeting, smtpreply.ReasonNoGreeting), Next, true},
		{"S-13 closed", because(greeting, smtpreply.ReasonConnectionLost), Next, true},
		{"S-14 4xx", reply(greeting, 450), Next, true},
		{"S-15 5xx", withReason(reply(greeting, 554), smtpreply.ReasonGreetingRefused), Next, true},
		{"S-15 521", withReason(reply(greeting, 521), smtpreply.ReasonGreetingRefused), Next, true},
		{"S-16 no reply", because(greeting, smtpreply.ReasonProtocol), Next, true},
		{"S-19 self", because(ehlo, smtpreply.ReasonSelfSession), Next, false},
		{"S-23 EHLO 421", reply(ehlo, 421), Next, true},
		{"S-24 HELO 550", withReason(reply(helo, 550), smtpreply.ReasonGreetingRefused), Next, true},
		{"S-38 injection", because(startTLS, smtpreply.ReasonTLSInjection), Next, true},
		{"S-39 not offered", because(startTLS, smtpreply.ReasonTLSNotOffered), Next, true},
		{"S-39 certificate", because(handshake, smtpreply.ReasonTLSFailed), Next, true},
		{"S-41 keyword", because(ehlo, smtpreply.ReasonRequireTLSKeyword), Next, false},
		{"S-45 size", because(ehlo, smtpreply.ReasonSize), Next, false},
		{"S-67 8-bit", because(ehlo, smtpreply.ReasonEightBit), Next, false},
		{"S-68 SMTPUTF8", because(ehlo, smtpreply.ReasonSMTPUTF8), Next, false},
		{"S-33 421 at MAIL", reply(mail, 421), Next, false},
		{"S-34 lost at MAIL", because(mail, smtpreply.ReasonConnectionLost), Next, true},
		{"S-50 MAIL 4xx", reply(mail, 451), Next, false},
		{"S-50 MAIL 5xx", reply(mail, 550), Bounce, false},
		{"S-50 MAIL 530", reply(mail, 530), Next, false},
		{"S-52 RCPT 5xx", reply(rcpt, 550), Bounce, false},
		{"S-52 RCPT 552 full", reply(rcpt, 552, 5, 2, 2), Bounce, false},
		{"S-53 RCPT 4xx", reply(rcpt, 450), Next, false},
		{"S-54 RCPT 552 too many", withReason(reply(rcpt, 552), smtpreply.ReasonTooManyRecipients), Next, false},
		{"S-56 DATA 4xx", reply(data, 451), Next, false},
		{"S-56 DATA 5xx", reply(data, 554), Bounce, false},
		{"S-56 DATA 250", withReason(reply(data, 250), smtpreply.ReasonProtocol), Next, true},
		{"S-57 552 in content", reply(content, 552), Bounce, false},
		{"S-57 421 in content", reply(content, 421), Next, false},
		{"S-58 250 in content", withReason(reply(content, 250), smtpreply.ReasonProtocol), Next, true},
		{"S-59 lost in content", because(content, smtpreply.ReasonConnectionLost), Next, true},
		{"S-07 no progress", because(content, smtpreply.ReasonTimeout), Next, true},
		{"S-62 dot 4xx", reply(dot, 451), Next, false},
		{"S-62 dot 5xx", reply(dot, 554), Bounce, false},
		{"S-47 ambiguous", because(dot, smtpreply.ReasonAmbiguous), Defer, false},
		{"S-63 3xx", withReason(reply(dot, 354), smtpreply.ReasonAmbiguous), Defer, false},
		{"S-10 RSET 5xx", reply(rset, 550), Next, true},
		{"Q-05 size", because(smtpreply.StageLocal, smtpreply.ReasonSize), Bounce, false},
		{"R-04 null MX", because(smtpreply.StageResolve, smtpreply.ReasonNullMX), Bounce, false},
		{"R-07 DNS", because(smtpreply.StageResolve, smtpreply.ReasonDNSTemp), Defer, false},
		{"stop", because(mail, smtpreply.ReasonShutdown), Defer, false},
		{"body", because(smtpreply.StageLocal, smtpreply.ReasonBodyMissing), Defer, false},
	} {
		t.Run(c.row, func(t *testing.T) {
			if got := Of(c.fail, false); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if c.want == Next && SameHost(c.fail) != c.sameHost {
				t.Errorf("another address of the same host: %t", !c.sameHost)
			}
		})
	}
}

func TestS50_ClearFallbackBouncesNothingAtMail(t *testing.T) {
	fail := reply(smtpreply.StageMail, 550)
	if got := Of(fail, true); got != Next {
		t.Errorf("got %s", got)
	}
	if got := Of(reply(smtpreply.StageRcpt, 550), true); got != Bounce {
		t.Errorf("RCPT: got %s", got)
	}
}

func TestExhausted(t *testing.T) {
	refused := func(code int) *smtpreply.Error {
		return withReason(reply(smtpreply.StageGreeting, code), smtpreply.ReasonGreetingRefused)
	}
	at := func(host int, fail *smtpreply.Error) Left { return Left{Host: host, Failure: fail} }
	known := func(host int, fail *smtpreply.Error) Left {
		return Left{Host: host, Failure: fail, Reached: true, Known: true}
	}
	reached := func(host int, fail *smtpreply.Error) Left { return Left{Host: host, Failure: fail, Reached: true} }
	lost := because(smtpreply.StageConnect, smtpreply.ReasonConnect)
	size := because(smtpreply.StageEhlo, smtpreply.ReasonSize)
	eight := because(smtpreply.StageEhlo, smtpreply.ReasonEightBit)
	utf8 := because(smtpreply.StageEhlo, smtpreply.ReasonSMTPUTF8)
	policy := because(smtpreply.StageStartTLS, smtpreply.ReasonRequireTLSPolicy)
	grey := reply(smtpreply.StageRcpt, 451, 4, 7, 1)
	for name, c := range map[string]struct {
		left   []Left
		hosts  int
		want   Verdict
		status string
	}{
		"nothing tried":                        {nil, 2, Defer, "4.4.1"},
		"S-11: no connection anywhere":         {[]Left{at(0, lost), at(1, lost)}, 2, Defer, "4.4.1"},
		"S-15: all said 521":                   {[]Left{at(0, refused(521)), at(1, refused(521))}, 2, Bounce, "5.3.2"},
		"S-15: 521 and 554":                    {[]Left{at(0, refused(521)), at(1, refused(554))}, 2, Defer, "4.3.2"},
		"S-15: 521 and one not reached":        {[]Left{at(0, refused(521)), at(1, lost)}, 2, Defer, "4.3.2"},
		"S-15: 521 and one not tried":          {[]Left{at(0, refused(521))}, 2, Defer, "4.3.2"},
		"S-15: two addresses of one host":      {[]Left{at(0, refused(521)), at(0, refused(521))}, 1, Bounce, "5.3.2"},
		"521 to RCPT is none":                  {[]Left{known(0, grey), at(1, refused(521))}, 2, Defer, "4.7.1"},
		"S-15: 554 everywhere":                 {[]Left{at(0, refused(554))}, 1, Defer, "4.3.2"},
		"S-45: too large":                      {[]Left{known(0, size)}, 1, Bounce, "5.3.4"},
		"S-45: the other is not reached":       {[]Left{known(0, size), at(1, lost)}, 2, Bounce, "5.3.4"},
		"S-45: the other would take it":        {[]Left{known(0, size), known(1, grey)}, 2, Defer, "4.7.1"},
		"S-45: the other is only said HELO to": {[]Left{known(0, size), reached(1, grey)}, 2, Defer, "4.7.1"},
		"S-67: no host":                        {[]Left{known(0, eight), known(1, eight)}, 2, Bounce, "5.6.3"},
		"S-67: one not reached":                {[]Left{known(0, eight), at(1, lost)}, 2, Defer, "4.6.3"},
		"S-67: one not tried":                  {[]Left{known(0, eight)}, 2, Defer, "4.6.3"},
		"S-67: reached at the second address":  {[]Left{at(0, lost), known(0, eight)}, 1, Bounce, "5.6.3"},
		"S-67 and S-68":                        {[]Left{known(0, eight), known(1, utf8)}, 2, Bounce, "5.6.7"},
		"S-68: HELO forced":                    {[]Left{reached(0, utf8)}, 1, Defer, "4.6.7"},
		"S-41: no policy":                      {[]Left{{Host: 0, Known: true, Failure: policy}}, 1, Bounce, "5.7.10"},
		"most telling: transaction":            {[]Left{known(0, grey), at(1, reply(smtpreply.StageGreeting, 421)), at(2, lost)}, 3, Defer, "4.7.1"},
		"most telling: the last":               {[]Left{known(0, grey), known(1, reply(smtpreply.StageDot, 452))}, 2, Defer, "4.0.0"},
		"most telling: any reply":              {[]Left{at(0, reply(smtpreply.StageGreeting, 421)), at(1, lost)}, 2, Defer, "4.3.2"},
		"5xx at MAIL in clear is deferred":     {[]Left{known(0, reply(smtpreply.StageMail, 550, 5, 7, 0))}, 1, Defer, "4.7.0"},
	} {
		t.Run(name, func(t *testing.T) {
			before := fmt.Sprint(c.left)
			got, fail := Exhausted(c.left, c.hosts)
			if got != c.want || fail.RecordedStatus().String() != c.status {
				t.Errorf("got %s %s, want %s %s (%v)", got, fail.RecordedStatus(), c.want, c.status, fail)
			}
			if fmt.Sprint(c.left) != before {
				t.Error("the failures were changed")
			}
		})
	}
}

func TestString(t *testing.T) {
	for v, want := range map[Verdict]string{Delivered: "delivered", Next: "next", Defer: "defer", Bounce: "bounce", 0: "none"} {
		if got := v.String(); got != want {
			t.Errorf("%d: %q", v, got)
		}
	}
}
