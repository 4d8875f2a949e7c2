// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"strings"
	"testing"
)

const sound = "From: Mail Delivery System <d@mx.example>\r\nTo: <a@b.example>\r\nSubject: x\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n" +
	"Message-ID: <1@mx.example>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n" +
	"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\nArrival-Date: Mon, 2 Nov 2026 10:00:00 +0000\r\n\r\n" +
	"Final-Recipient: rfc822; c@d.example\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.d.example\r\n" +
	"Diagnostic-Code: smtp; 550 5.1.1 no\r\n\r\n--b--\r\n"

func TestParseTakesASoundReport(t *testing.T) {
	r, err := Parse([]byte(sound))
	if err != nil || len(r.Status) != 2 || r.Text != "text" || r.Boundary != "b" || r.Status[1].Get("Status") != "5.1.1" ||
		len(r.Status[1].Names()) != 5 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestParseRefuses what is not sound: a reader that takes everything would prove nothing.
func TestParseRefuses(t *testing.T) {
	for name, change := range map[string][2]string{
		"no line end":             {"--b--\r\n", "--b--"},
		"bare LF":                 {"text\r\n", "te\nxt\r\n"},
		"NUL":                     {"text\r\n", "te\x00xt\r\n"},
		"long line":               {"text\r\n", strings.Repeat("x", 999) + "\r\n"},
		"unknown header field":    {"Subject: x\r\n", "Subject: x\r\nBcc: e@f.example\r\n"},
		"header field twice":      {"Subject: x\r\n", "Subject: x\r\nSubject: y\r\n"},
		"no Auto-Submitted":       {"Auto-Submitted: auto-replied\r\n", ""},
		"no report":               {"report-type=delivery-status; ", ""},
		"other second part":       {"message/delivery-status", "text/html"},
		"no recipient":            {"\r\nFinal-Recipient: rfc822; c@d.example\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.d.example\r\nDiagnostic-Code: smtp; 550 5.1.1 no\r\n", ""},
		"empty group":             {"\r\n\r\nFinal", "\r\n\r\n\r\nFinal"},
		"no Action":               {"Action: failed\r\n", ""},
		"unknown Action":          {"Action: failed", "Action: lost"},
		"Status of other class":   {"Status: 5.1.1", "Status: 4.1.1"},
		"no Status":               {"Status: 5.1.1", "Status: 5.1"},
		"unknown field":           {"Status: 5.1.1\r\n", "Status: 5.1.1\r\nX-More: y\r\n"},
		"field twice":             {"Status: 5.1.1\r\n", "Status: 5.1.1\r\nStatus: 5.1.1\r\n"},
		"order":                   {"Action: failed\r\nStatus: 5.1.1", "Status: 5.1.1\r\nAction: failed"},
		"no field":                {"Status: 5.1.1\r\n", "Status: 5.1.1\r\nhello\r\n"},
		"address without type":    {"rfc822; c@d", "c@d"},
		"MTA without type":        {"Reporting-MTA: dns; ", "Reporting-MTA: "},
		"no date":                 {"Arrival-Date: Mon, 2 Nov 2026 10:00:00 +0000", "Arrival-Date: yesterday"},
		"Will-Retry-Until":        {"5.1.1 no\r\n", "5.1.1 no\r\nWill-Retry-Until: Mon, 2 Nov 2026 10:00:00 +0000\r\n"},
		"diagnostic that is none": {"smtp; 550", "smtp; hello"},
		"control byte":            {"5.1.1 no", "5.1.1 \x1bno"},
		"UTF-8 in seven bits":     {"5.1.1 no", "5.1.1 n\u00f6"},
	} {
		broken := strings.Replace(sound, change[0], change[1], 1)
		if _, err := Parse([]byte(broken)); err == nil || broken == sound {
			t.Errorf("%s is taken", name)
		}
	}
}
