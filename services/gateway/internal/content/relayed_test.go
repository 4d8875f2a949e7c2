// SPDX-License-Identifier: Apache-2.0

package content

import (
	"errors"
	"strings"
	"testing"
)

// TestG07_RelayedMailIsTakenAsItIs holds each message against the rules of a submission and of a relay.
func TestG07_RelayedMailIsTakenAsItIs(t *testing.T) {
	long := strings.Repeat("x", 5000)
	relayed := DefaultRules()
	relayed.Relayed, relayed.LongLines = true, Fold
	cases := []struct{ name, content, submitted, relayed string }{
		{"no From", "Subject: x\r\n\r\nhi\r\n", ReasonFromMissing, ""},
		{"empty From", "From: \r\n\r\nhi\r\n", ReasonFromMissing, ""},
		{"two Date", "From: a\r\nDate: 1\r\nDate: 2\r\n\r\n", ReasonFieldRepeated, ""},
		{"two Message-ID", "From: a\r\nMessage-ID: <1@a>\r\nMessage-ID: <2@a>\r\n\r\n", ReasonFieldRepeated, ""},
		{"long header line", "From: a\r\nX: y " + long + "\r\n\r\n", ReasonLineTooLong, ""},
		{"long body line", "From: a\r\n\r\n" + long + "\r\n", ReasonLineTooLong, ""},
		{"two From", "From: a\r\nFrom: b\r\n\r\n", ReasonFieldRepeated, ReasonFieldRepeated},
		{"no colon", "From: a\r\nxyz\r\n\r\n", ReasonHeaderMalformed, ReasonHeaderMalformed},
		{"bare LF", "From: a\r\n\r\nx\ny\r\n", ReasonBareNewline, ReasonBareNewline},
		{"NUL", "From: a\r\n\r\nx\x00\r\n", ReasonNUL, ReasonNUL},
	}
	for _, tc := range cases {
		for way, want := range map[string]string{"submitted": tc.submitted, "relayed": tc.relayed} {
			t.Run(tc.name+"/"+way, func(t *testing.T) {
				rules := relayed
				if way == "submitted" {
					rules = DefaultRules()
				}
				got, err := read(tc.content, 100, rules)
				if fault, ok := errors.AsType[*Fault](err); ok {
					if fault.Reason != want {
						t.Errorf("refused with %s, want %q", fault.Reason, want)
					}
					return
				}
				if err != nil || want != "" {
					t.Fatalf("taken (%v), want %s", err, want)
				}
				if got.out != ours+tc.content {
					t.Errorf("it was changed to %q", got.out)
				}
			})
		}
	}
	got, _ := read(cases[3].content, 100, relayed)
	if got.head.MessageID != "<1@a>" {
		t.Errorf("Message-ID is %q, want the first one", got.head.MessageID)
	}
}
